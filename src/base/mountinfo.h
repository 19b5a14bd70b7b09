// The mount table of a process.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/int.h"

namespace ringloop {

struct Mount {
    u32 major = 0;  // of the filesystem's device; 0 for those without one
    u32 minor = 0;
    std::string mount_point;
    std::string type;     // "ext4"
    std::string source;   // "/dev/ublkb0"
    std::string root;     // what of the filesystem is mounted: "/" is all of it
    std::string options;  // of the filesystem, not of this mount: "rw,blkio"
};

// The text of /proc/PID/mountinfo, proc(5). Lines that are none are left out.
std::vector<Mount> parse_mountinfo(std::string_view text);

}  // namespace ringloop
