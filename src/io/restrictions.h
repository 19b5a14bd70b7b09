// What a ring will do for this process, and nothing else: whoever takes the process over gets no
// file opened and no connection made by it, past what is filtered of system calls.
#pragma once

#include <liburing.h>

namespace ringloop::io {

enum class RingOf : unsigned char {
    shard,     // the operations of operation.h
    commands,  // CommandRing's: commands to drivers
};

// Of a ring that was set up with IORING_SETUP_R_DISABLED; enabled by it, restricted or not. On the
// thread that will use it. Whether it is restricted: -errno where the kernel cannot (before 5.10).
int restrict_and_enable(io_uring& ring, RingOf what);

}  // namespace ringloop::io
