// Putting issuers.bpf.c into the running kernel.
#pragma once

#include "base/result.h"
#include "base/unique_fd.h"

namespace ringloop::cgroup {

struct IssuersProgram {
    UniqueFd issuers;  // to be mapped: a u64 for each slot, queue by queue
    UniqueFd disk;     // to be mapped: an IssuersDisk, without a name at first
    UniqueFd link;     // the program runs until its last copy is closed
};

// For a process that ends soon: libbpf and what it reads of the kernel's types take megabytes and
// stay until then. Single-threaded; once in a process. Blocks, some 30 ms; the caller bounds it.
//
// Errors: what is missing (libbpf1, BTF, a privilege) and how to get it, or what libbpf said first,
// which is the cause of what it says afterwards.
Result<IssuersProgram> load_issuers_program(u32 queues, u32 depth);

}  // namespace ringloop::cgroup
