// What a server does to its own process so that it can be trusted with a filesystem's I/O.
#pragma once

#include <string>

#include "base/int.h"

namespace ringloop::control {

// A protection that is on, or the reason why it is not.
struct Protection {
    bool on = false;
    std::string reason;
};

struct Hardening {
    // PR_SET_IO_FLUSHER: memory that this process needs is never reclaimed by writing to a
    // filesystem that may wait for this very process. Needs CAP_SYS_RESOURCE.
    Protection io_flusher;
    // What was touched stays in memory. Needs CAP_IPC_LOCK or an unlimited RLIMIT_MEMLOCK.
    Protection memory_locked;
    // oom_score_adj -1000: killing this process would free little and hang much. Needs root.
    Protection oom_protected;
    // A mount table of its own without other people's mounts, mounts.h. Needs CAP_SYS_ADMIN.
    Protection private_mounts;
};

// CAP_SYS_ADMIN, without which the kernel lets nobody add a block device.
bool may_administer();

// After the backing was opened (its path may mean nothing afterwards), before rings and threads,
// which inherit all of it. Never fails: what is not permitted is reported. Changes the working
// directory to "/".
Hardening harden_process();

}  // namespace ringloop::control
