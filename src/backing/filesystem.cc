#include "backing/filesystem.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <algorithm>
#include <array>

#include "base/unique_fd.h"

namespace ringloop::backing {
namespace {

struct Name {
    u64 type;
    const char* name;
};

// ext2, ext3 and ext4 share a number, and one driver today.
constexpr std::array names = {
    Name{0xef53, "ext4"},      Name{0x58465342, "xfs"},       Name{0x9123683e, "btrfs"},
    Name{0x01021994, "tmpfs"}, Name{0x794c7630, "overlayfs"}, Name{0x73717368, "squashfs"},
    Name{0x65735546, "fuse"},  Name{0x01021997, "9p"},        Name{0x6969, "nfs"},
    Name{0x2fc12fc1, "zfs"},   Name{0xca451a4e, "bcachefs"},  Name{0xf2f52010, "f2fs"},
    Name{0xe0f5e1e2, "erofs"}, Name{0x9660, "iso9660"},       Name{0x4d44, "vfat"},
    Name{0x2011bab0, "exfat"}, Name{0x7366746e, "ntfs3"},     Name{0xff534d42, "cifs"},
    Name{0xfe534d42, "smb2"},  Name{0x00c36400, "ceph"},      Name{0x01161970, "gfs2"},
    Name{0x7461636f, "ocfs2"}, Name{0x858458f6, "ramfs"},     Name{0x958458f6, "hugetlbfs"},
    Name{0x3153464a, "jfs"},   Name{0x52654973, "reiserfs"},  Name{0x24051905, "ubifs"},
    Name{0x5346544e, "ntfs"},
};

// Whatever their mount options are. One that refuses all the same is found out by the first
// discard.
constexpr std::array<std::string_view, 6> punching = {"ext4",  "xfs",  "btrfs",
                                                      "tmpfs", "f2fs", "bcachefs"};

constexpr u64 sector_bytes = 512;  // of st_blocks, whatever the block size

std::string read_all(const char* path) {
    const UniqueFd fd(open(path, O_RDONLY | O_CLOEXEC));
    std::string text;
    char part[4096];
    for (;;) {
        const ssize_t length = fd ? read(fd.get(), part, sizeof part) : 0;
        if (length <= 0) return text;
        text.append(part, static_cast<std::size_t>(length));
    }
}

// The part before `end`, which goes with it.
std::string_view take(std::string_view& text, char end) {
    const std::string_view part = text.substr(0, text.find(end));
    text.remove_prefix(std::min(part.size() + 1, text.size()));
    return part;
}

// The mount that a file is on, in a text that outlives the answer; empty before Linux 5.8.
Superblock superblock_of(int fd, const std::string& mountinfo) {
    struct statx found = {};
    if (statx(fd, "", AT_EMPTY_PATH, STATX_MNT_ID, &found) != 0) return {};
    if ((found.stx_mask & STATX_MNT_ID) == 0) return {};
    return find_superblock(mountinfo, found.stx_mnt_id);
}

}  // namespace

Filesystem probe_filesystem(const Image& image) {
    const int fd = image.fd.get();
    struct statfs system = {};
    struct stat file = {};
    if (fstatfs(fd, &system) != 0 || fstat(fd, &file) != 0) return {.name = "unknown"};
    const std::string mountinfo = read_all("/proc/self/mountinfo");
    const Superblock superblock = superblock_of(fd, mountinfo);
    // 9p says what its server has below.
    const std::string name = superblock.type == "9p"
                                 ? "9p"
                                 : filesystem_name(static_cast<u64>(system.f_type) & 0xffffffff);
    int flags = 0;
    if (ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0) flags = 0;
    return {
        .name = name,
        .punches_holes =
            superblock.type == name && std::ranges::find(punching, name) != punching.end(),
        .compressing = may_compress(name, superblock.options, static_cast<u32>(flags)),
        .sparse = static_cast<u64>(file.st_blocks) * sector_bytes < static_cast<u64>(file.st_size)};
}

std::string filesystem_name(u64 type) {
    for (const Name& known : names) {
        if (known.type == type) return known.name;
    }
    return fmt::format("{:#x}", type);
}

Superblock find_superblock(std::string_view mountinfo, u64 id) {
    const std::string wanted = fmt::format("{}", id);
    while (!mountinfo.empty()) {
        std::string_view line = take(mountinfo, '\n');
        if (take(line, ' ') != wanted) continue;
        while (!line.empty() && take(line, ' ') != "-") {
        }
        const std::string_view type = take(line, ' ');
        take(line, ' ');  // source
        return {type, line};
    }
    return {};
}

bool may_compress(std::string_view name, std::string_view options, u32 inode_flags) {
    // Their setting is nowhere that everyone may read.
    if (name == "zfs" || name == "bcachefs") return true;
    // What is written in place has neither checksum nor compression (btrfs(5), nodatacow).
    if (name == "btrfs" && (inode_flags & FS_NOCOW_FL) != 0) return false;
    if ((inode_flags & FS_COMPR_FL) != 0) return true;
    if (name != "btrfs") return false;
    bool mounted = false;
    while (!options.empty()) {
        const std::string_view option = take(options, ',');
        if (option.starts_with("compress-force")) return true;
        if (option == "compress" || option.starts_with("compress=")) mounted = true;
    }
    return mounted && (inode_flags & FS_NOCOMP_FL) == 0;
}

}  // namespace ringloop::backing
