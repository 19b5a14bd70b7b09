// What a server does to its own process so that it can be trusted with a filesystem's I/O.
#pragma once

#include <string>
#include <vector>

#include "base/int.h"

namespace ringloop::control {

// A protection that is on, or the reason why it is not.
struct Protection {
    bool on = false;
    std::string reason;
};

// Of the sandbox (sandbox.h), part by part.
struct Confinement {
    std::vector<std::string> kept;  // "CAP_SYS_ADMIN: the driver ...", of some thread
    // No thread has any other.
    Protection capabilities{false, "--sandbox=off"};
    // No file can be opened but the server's own.
    Protection landlock{false, "--sandbox=off"};
    // No program is run, no connection made; calls that a server does not make are refused.
    Protection seccomp{false, "--sandbox=off"};
    // What rings do is no way around that.
    Protection rings{false, "--sandbox=off"};
    // The process that opens for it (opener.h) is there.
    Protection opener{false, "--sandbox=off"};
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
    Confinement sandbox;
};

// CAP_SYS_ADMIN, without which the kernel lets nobody add a block device.
bool may_administer();

// After the backing was opened (its path may mean nothing afterwards), before rings and threads,
// which inherit all of it. Never fails: what is not permitted is reported. Changes the working
// directory to "/".
Hardening harden_process();

}  // namespace ringloop::control
