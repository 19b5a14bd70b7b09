// What is known of the filesystem that an image lies on, mostly for people who ask which way their
// I/O takes.
#pragma once

#include <string>
#include <string_view>

#include "backing/image.h"

namespace ringloop::backing {

struct Filesystem {
    std::string name;            // "ext4", or "0x" and its number in hex
    bool punches_holes = false;  // known to, without asking
    bool compressing = false;    // it may store what is written elsewhere, and smaller
    bool sparse = false;         // the file had fewer blocks than bytes
};

// Of a regular file; what the system does not tell is left out. Control thread; may block as long
// as a look-up.
Filesystem probe_filesystem(const Image& image);

// The name that statfs(2)'s f_type stands for (include/uapi/linux/magic.h, and what filesystems
// outside the kernel use).
std::string filesystem_name(u64 type);

// Of mount `id` in the text of /proc/self/mountinfo (proc(5): behind the dash the type, the source,
// the options), of which the answer is a part; empty when it is not there.
struct Superblock {
    std::string_view type{};
    std::string_view options{};
};
Superblock find_superblock(std::string_view mountinfo, u64 id);

// `inode_flags` as FS_IOC_GETFLAGS gives them, 0 when it does not.
bool may_compress(std::string_view name, std::string_view options, u32 inode_flags);

}  // namespace ringloop::backing
