#include "cgroup/hierarchy.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <array>
#include <memory>
#include <vector>

#include "cgroup/pidfd.h"

#ifndef SO_PEERPIDFD
#define SO_PEERPIDFD 77  // Linux 6.5, include/uapi/asm-generic/socket.h
#endif

namespace ringloop::cgroup {
namespace {

constexpr std::size_t text_bytes_max = 4 * mib;
constexpr int handle_kernfs = 0xfe;  // FILEID_KERNFS, include/linux/exportfs.h: 8 bytes, the id
constexpr int directory_flags = O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC;

// "" where it cannot be read. A path that begins with '/' does not need `directory_fd`.
std::string read_text(int directory_fd, const std::string& path) {
    const UniqueFd fd(::openat(directory_fd, path.c_str(), O_RDONLY | O_CLOEXEC));
    std::string text;
    std::array<char, 4096> part{};
    while (fd && text.size() < text_bytes_max) {
        const ssize_t length = ::read(fd.get(), part.data(), part.size());
        if (length < 0 && errno == EINTR) continue;
        if (length < 0) return "";
        if (length == 0) break;
        text.append(part.data(), static_cast<std::size_t>(length));
    }
    return text;
}

std::string_view take_until(std::string_view& text, char separator) {
    const std::size_t end = std::min(text.find(separator), text.size());
    const std::string_view taken = text.substr(0, end);
    text.remove_prefix(std::min(end + 1, text.size()));
    return taken;
}

bool has_word(std::string_view text, char separator, std::string_view word) {
    while (!text.empty()) {
        if (take_until(text, separator) == word) return true;
    }
    return false;
}

bool is_or_is_below(std::string_view path, std::string_view parent) {
    return path.starts_with(parent) && (path.size() == parent.size() || path[parent.size()] == '/');
}

// "/a//b/" → "/a/b"; "" for what has a ".." and is therefore outside of what can be seen here.
std::string normal(std::string_view path) {
    std::string plain;
    while (!path.empty()) {
        const std::string_view name = take_until(path, '/');
        if (name == "..") return "";
        if (name.empty() || name == ".") continue;
        plain.append("/").append(name);
    }
    return plain.empty() ? "/" : plain;
}

u64 inode_of(int fd) {
    struct stat status{};
    return ::fstat(fd, &status) == 0 ? status.st_ino : 0;
}

std::string name_of(int fd) {
    std::array<char, 4096> name{};
    const std::string link = fmt::format("/proc/self/fd/{}", fd);
    const ssize_t length = ::readlink(link.c_str(), name.data(), name.size());
    return {name.data(), length > 0 ? static_cast<std::size_t>(length) : 0};
}

// The folders directly below, with their inodes.
struct Folder {
    std::string name;
    u64 inode;
};

std::vector<Folder> folders_of(UniqueFd fd) {
    std::vector<Folder> folders;
    const std::unique_ptr<DIR, int (*)(DIR*)> list(::fdopendir(fd.get()), ::closedir);
    if (!list) return folders;
    [[maybe_unused]] const int owned_by_list = fd.release();
    while (const dirent* entry = ::readdir(list.get())) {
        const std::string_view name = entry->d_name;
        if (entry->d_type != DT_DIR || name == "." || name == "..") continue;
        folders.push_back({std::string(name), entry->d_ino});
    }
    return folders;
}

// proc(5): the state stands behind the name, which may contain anything.
char state_of(pid_t pid) {
    const std::string text = read_text(AT_FDCWD, fmt::format("/proc/{}/stat", pid));
    const std::size_t name_end = text.rfind(')');
    return name_end != std::string::npos && name_end + 2 < text.size() ? text[name_end + 2] : '\0';
}

Error gone(u64 id) { return {ENOENT, fmt::format("the cgroup with the id {} is gone", id)}; }

}  // namespace

// ---- the mounts --------------------------------------------------------------------------------

Result<Hierarchies> Hierarchies::open() {
    return open(read_text(AT_FDCWD, "/proc/self/mountinfo"));
}

Result<Hierarchies> Hierarchies::open(std::string_view mountinfo) {
    Hierarchies found;
    for (const Mount& mount : parse_mountinfo(mountinfo)) {
        if (mount.type == "cgroup2") found.consider(mount, "", found.v2_);
        if (mount.type != "cgroup") continue;
        if (has_word(mount.options, ',', "blkio")) found.consider(mount, "blkio", found.blkio_v1_);
        if (has_word(mount.options, ',', "memory")) {
            found.consider(mount, "memory", found.memory_v1_);
        }
    }
    if (!found.charging().mount) {
        return fail(ENOENT,
                    "no cgroup filesystem is mounted here; mount it with "
                    "'mount -t cgroup2 none /sys/fs/cgroup'");
    }
    found.own_id_ = found.id_of_process("self");
    return found;
}

// One hierarchy may be mounted several times; a mount of all of it is worth most.
void Hierarchies::consider(const Mount& mount, std::string_view controller, Tree& tree) {
    if (tree.mount && (tree.root == "/" || mount.root != "/")) return;
    // Of another cgroup namespace: its paths and those of /proc do not go together.
    if (normal(mount.root).empty()) return;
    UniqueFd fd(::open(mount.mount_point.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    struct stat status{};
    if (!fd || ::fstat(fd.get(), &status) != 0) return;
    // Something else may be mounted over it.
    if (status.st_dev != ::makedev(mount.major, mount.minor)) return;
    tree = {std::move(fd), std::string(controller), mount.mount_point, mount.root};
}

// Where v1 has both controllers, being in a cgroup of v2 charges nobody: it would only make a lane
// one of the processes that a service manager counts, freezes and ends.
bool Hierarchies::v2_charges() const {
    if (!v2_.mount) return false;
    if (!blkio_v1_.mount) return true;
    std::string text = read_text(v2_.mount.get(), "cgroup.controllers");
    std::ranges::replace(text, '\n', ' ');
    return has_word(text, ' ', "memory");
}

// ---- id → directory ----------------------------------------------------------------------------

// A descriptor, or -errno.
int Hierarchies::open_by_handle(const Tree& tree, u64 id) {
    alignas(file_handle) std::array<std::byte, sizeof(file_handle) + sizeof(u64)> bytes{};
    auto* handle = reinterpret_cast<file_handle*>(bytes.data());
    handle->handle_bytes = sizeof(id);
    handle->handle_type = handle_kernfs;
    std::copy_n(reinterpret_cast<const std::byte*>(&id), sizeof(id),
                bytes.data() + sizeof(file_handle));
    const int fd = ::open_by_handle_at(tree.mount.get(), handle, directory_flags);
    return fd < 0 ? -errno : fd;
}

UniqueFd Hierarchies::open_by_walk(const Tree& tree, u64 id) {
    if (inode_of(tree.mount.get()) == id) return open_path(tree, tree.root);
    std::vector<std::string> pending = {"."};
    while (!pending.empty()) {
        const std::string path = std::move(pending.back());
        pending.pop_back();
        UniqueFd fd(::openat(tree.mount.get(), path.c_str(), directory_flags));
        if (!fd) continue;
        for (const Folder& folder : folders_of(std::move(fd))) {
            std::string below = path + "/" + folder.name;
            if (folder.inode == id) {
                return UniqueFd(::openat(tree.mount.get(), below.c_str(), directory_flags));
            }
            pending.push_back(std::move(below));
        }
    }
    return {};
}

Result<Hierarchies::Directory> Hierarchies::directory_of(u64 id) const {
    const Tree& tree = charging();
    const int opened = open_by_handle(tree, id);
    if (opened == -ESTALE) return std::unexpected(gone(id));
    // EPERM: CAP_DAC_READ_SEARCH is missing. Anything else means that there are no such handles.
    UniqueFd fd = opened >= 0 ? UniqueFd(opened) : open_by_walk(tree, id);
    if (!fd || inode_of(fd.get()) != id) return std::unexpected(gone(id));
    std::string path = path_of_directory(tree, fd.get());
    // A directory that was removed meanwhile is empty, and its path ends with " (deleted)".
    if (path.empty() || ::faccessat(fd.get(), "cgroup.procs", F_OK, 0) != 0) {
        return std::unexpected(gone(id));
    }
    return Directory{std::move(path), std::move(fd)};
}

// Both names come from the kernel at the same time, so it does not matter whether the mount is
// attached somewhere; "" for a directory outside of what is mounted.
std::string Hierarchies::path_of_directory(const Tree& tree, int fd) {
    std::string mount = name_of(tree.mount.get());
    if (mount == "/") mount = "";
    const std::string name = name_of(fd);
    if (name.empty() || !is_or_is_below(name, mount)) return "";
    return normal(tree.root + name.substr(mount.size()));
}

Result<Place> Hierarchies::find(u64 id) const {
    auto directory = directory_of(id);
    if (!directory) return std::unexpected(std::move(directory).error());
    Place place;
    place.path = std::move(directory->path);
    (blkio_v1_.mount ? place.blkio_v1 : place.v2) = std::move(directory->fd);
    if (!place.v2 && v2_charges()) place.v2 = open_path(v2_, place.path);
    if (memory_v1_.mount) place.memory_v1 = open_path(memory_v1_, place.path);
    return place;
}

Result<std::string> Hierarchies::path_of(u64 id) const {
    auto directory = directory_of(id);
    if (!directory) return std::unexpected(std::move(directory).error());
    return std::move(directory->path);
}

// ---- path → id ---------------------------------------------------------------------------------

// The path from the mount on, to open; "" for one that is not below it.
std::string Hierarchies::below_root(const Tree& tree, std::string_view path) {
    const std::string root = normal(tree.root);
    const std::string plain = normal(path);
    if (root.empty() || plain.empty()) return "";
    if (root == "/") return "." + plain;
    return is_or_is_below(plain, root) ? "." + plain.substr(root.size()) : "";
}

UniqueFd Hierarchies::open_path(const Tree& tree, std::string_view path) {
    const std::string below = below_root(tree, path);
    if (below.empty()) return {};
    return UniqueFd(::openat(tree.mount.get(), below.c_str(), directory_flags));
}

u64 Hierarchies::id_at(const Tree& tree, std::string_view path) {
    const std::string below = below_root(tree, path);
    struct stat status{};
    if (below.empty() ||
        ::fstatat(tree.mount.get(), below.c_str(), &status, AT_SYMLINK_NOFOLLOW) != 0) {
        return 0;
    }
    return S_ISDIR(status.st_mode) ? status.st_ino : 0;
}

// What stands behind the longest mount point in front of a path; the path itself without one.
std::string Hierarchies::below_mount_point(std::string_view path) const {
    const Tree* longest = nullptr;
    for (const Tree* tree : {&v2_, &blkio_v1_, &memory_v1_}) {
        if (!tree->mount || !is_or_is_below(path, tree->mount_point)) continue;
        if (!longest || tree->mount_point.size() > longest->mount_point.size()) longest = tree;
    }
    if (!longest) return std::string(path);
    return longest->root + "/" + std::string(path.substr(longest->mount_point.size()));
}

Result<u64> Hierarchies::of_path(std::string_view path) const {
    const Tree& tree = charging();
    if (!path.starts_with('/')) {
        return fail(EINVAL,
                    "{}: not a cgroup's path, which begins with '/': /tenants/a for {}/tenants/a",
                    path, tree.mount_point);
    }
    const std::string name = below_mount_point(path);
    const u64 id = id_at(tree, name);
    if (id == 0) {
        return fail(ENOENT,
                    "{}: no such cgroup in {}; find its path in /proc/PID/cgroup of a process in "
                    "it, or make it with mkdir",
                    path, tree.mount_point);
    }
    return id;
}

// ---- process → id ------------------------------------------------------------------------------

// /proc/PID/cgroup, cgroups(7): "4:cpu,memory:/a" for v1, "0::/a" for v2.
std::string Hierarchies::path_of_process(const Tree& tree, std::string_view process) const {
    const std::string text = read_text(AT_FDCWD, fmt::format("/proc/{}/cgroup", process));
    std::string_view rest = text;
    while (!rest.empty()) {
        std::string_view line = take_until(rest, '\n');
        const bool is_v2 = take_until(line, ':') == "0";
        const std::string_view controllers = take_until(line, ':');
        const bool wanted =
            tree.controller.empty() ? is_v2 : has_word(controllers, ',', tree.controller);
        if (wanted) return std::string(line);
    }
    return "";
}

u64 Hierarchies::id_of_process(std::string_view process) const {
    const std::string path = path_of_process(charging(), process);
    return path.empty() ? 0 : id_at(charging(), path);
}

u64 Hierarchies::of_process(pid_t pid) const {
    return pid > 0 ? id_of_process(std::to_string(pid)) : 0;
}

u64 Hierarchies::of_peer(int socket_fd) const {
    int family = 0;
    ucred credentials{};
    socklen_t length = sizeof(family);
    if (::getsockopt(socket_fd, SOL_SOCKET, SO_DOMAIN, &family, &length) != 0) return 0;
    if (family != AF_UNIX) return 0;
    length = sizeof(credentials);
    if (::getsockopt(socket_fd, SOL_SOCKET, SO_PEERCRED, &credentials, &length) != 0) return 0;
    // The number may be another process' by now. Where the kernel hands out the process itself,
    // that it still runs after its files were read means that they were its own.
    int number = -1;
    length = sizeof(number);
    if (::getsockopt(socket_fd, SOL_SOCKET, SO_PEERPIDFD, &number, &length) != 0) {
        return errno == ENOPROTOOPT ? of_process(credentials.pid) : 0;
    }
    const UniqueFd process(number);
    const u64 id = of_process(credentials.pid);
    return pidfd_ends_within(process.get(), 0) ? 0 : id;
}

bool Hierarchies::process_is_held(pid_t pid) const {
    const char state = state_of(pid);
    if (state == 'T' || state == 't') return true;
    if (state == '\0' || !v2_.mount) return false;
    const UniqueFd cgroup = open_path(v2_, path_of_process(v2_, std::to_string(pid)));
    return cgroup && has_word(read_text(cgroup.get(), "cgroup.events"), '\n', "frozen 1");
}

}  // namespace ringloop::cgroup
