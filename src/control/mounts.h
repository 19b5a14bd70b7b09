// The mount table, and which part of it a server does without.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/int.h"

namespace ringloop::control {

struct Mount {
    u32 major = 0;  // of the filesystem's device; 0 for those without one
    u32 minor = 0;
    std::string mount_point;
    std::string type;    // "ext4"
    std::string source;  // "/dev/ublkb0"
};

// The text of /proc/PID/mountinfo, proc(5). Lines that are none are left out.
std::vector<Mount> parse_mountinfo(std::string_view text);

// The mount points to detach from a server's own copy of the table, innermost first. A mount that
// it keeps stays alive after everyone else unmounted it, and if that is a mount of the very device
// it serves, the server waits for itself when it ends. So it keeps / and the system's own virtual
// filesystems below /proc, /sys, /dev and /run, and nothing else: not even a disk that a desktop
// mounted below /run/media.
std::vector<std::string> mounts_to_detach(std::span<const Mount> mounts);

}  // namespace ringloop::control
