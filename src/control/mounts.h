// Which part of the mount table a server does without.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "base/mountinfo.h"

namespace ringloop::control {

// The mount points to detach from a server's own copy of the table, innermost first. A mount that
// it keeps stays alive after everyone else unmounted it, and if that is a mount of the very device
// it serves, the server waits for itself when it ends. So it keeps / and the system's own virtual
// filesystems below /proc, /sys, /dev and /run, and nothing else: not even a disk that a desktop
// mounted below /run/media.
std::vector<std::string> mounts_to_detach(std::span<const Mount> mounts);

}  // namespace ringloop::control
