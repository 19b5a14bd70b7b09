// Which system calls a server makes once it is set up. Everything else is refused with EPERM,
// rather than ended by a signal: a call that was forgotten here must not cost anybody a mounted
// filesystem.
//
// The filter is made by hand: a list of numbers and a few conditions. libseccomp would do the same,
// and cost every server its loading and a heap that is never used again.
#pragma once

#include "base/result.h"

namespace ringloop::control {

struct SystemCallsNeeded {
    bool disk = false;     // has a node, and who opens it may become of interest
    bool netlink = false;  // the kernel's nbd driver is told of its end by it
    bool cgroups = false;  // found by number, and their lanes ended
};

// All threads of this process from now on, and all that they start. Needs PR_SET_NO_NEW_PRIVS on
// this thread. The error is ENOTSUP where this build or this machine has no filter, and says why.
Status filter_system_calls(SystemCallsNeeded needed);

// Whether filter_system_calls could do it here, without doing it.
Status system_call_filter_available();

}  // namespace ringloop::control
