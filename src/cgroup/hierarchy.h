// Which cgroups there are: the mounted hierarchies, and the way between a cgroup's id, its path,
// its directory and the processes in it.
//
// Who is charged for I/O is decided in the *charging hierarchy*: that of the blkio controller where
// it is mounted (cgroup v1), else cgroup v2. The id of a cgroup is the inode of its directory
// there, which is what the kernel calls kernfs_node.id.
#pragma once

#include <sys/types.h>

#include <string>
#include <string_view>

#include "base/mountinfo.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace ringloop::cgroup {

// The directories that a process has to be in to be charged as a cgroup. Empty: nothing to join
// there. In v1, memory and blkio are told apart by their paths only: memory_v1 is the directory of
// the same path, if there is one.
struct Place {
    std::string path;  // as /proc/PID/cgroup names it: "/tenants/a"
    UniqueFd v2;       // where cgroup v2 has the controller of I/O or of memory
    UniqueFd blkio_v1;
    UniqueFd memory_v1;
};

// The functions that are const are for any thread. They keep working after the mounts were
// detached, and read /proc, which must stay.
class Hierarchies {
public:
    // Control thread, while /sys/fs/cgroup is what it is for everyone. ENOENT: none is mounted.
    static Result<Hierarchies> open();
    // The same with another /proc/self/mountinfo, for tests.
    static Result<Hierarchies> open(std::string_view mountinfo);

    // ENOENT: the cgroup is gone. Without CAP_DAC_READ_SEARCH it looks at every cgroup there is.
    Result<Place> find(u64 id) const;
    Result<std::string> path_of(u64 id) const;

    // What a person gives: "/tenants/a", or that with a mount point in front. The error names the
    // way out.
    Result<u64> of_path(std::string_view path) const;
    // Of the process at the other end of a Unix socket, as it was when it connected; where it is
    // now. 0: not known, because the socket is of another family, the process has ended or is
    // invisible here (another PID namespace), or its cgroup is (another cgroup namespace).
    u64 of_peer(int socket_fd) const;
    // The same for a process. 0: not known.
    u64 of_process(pid_t pid) const;

    // Where this process was when open() was called. 0: not known.
    u64 own_id() const { return own_id_; }
    // The root of the whole hierarchy, not of a namespace's part: kernel/cgroup/cgroup.c,
    // cgroup_setup_root, warns if its number were another.
    static constexpr u64 root_id = 1;

    // Whether a process cannot go on by itself: it is stopped (SIGSTOP, a debugger), or in a frozen
    // cgroup of v2. false when it has ended.
    bool process_is_held(pid_t pid) const;

private:
    // A hierarchy; without `mount` there is none.
    struct Tree {
        UniqueFd mount;
        std::string controller;   // its name in /proc/PID/cgroup; "" is v2
        std::string mount_point;  // as it was
        std::string root;         // the path of the cgroup that is mounted there; "/" is all
    };
    struct Directory {
        std::string path;  // as /proc/PID/cgroup names it
        UniqueFd fd;
    };

    void consider(const Mount& mount, std::string_view controller, Tree& tree);
    const Tree& charging() const { return blkio_v1_.mount ? blkio_v1_ : v2_; }
    bool v2_charges() const;
    Result<Directory> directory_of(u64 id) const;
    std::string below_mount_point(std::string_view path) const;
    std::string path_of_process(const Tree& tree, std::string_view process) const;
    u64 id_of_process(std::string_view process) const;

    static int open_by_handle(const Tree& tree, u64 id);
    static UniqueFd open_by_walk(const Tree& tree, u64 id);
    static UniqueFd open_path(const Tree& tree, std::string_view path);
    static std::string below_root(const Tree& tree, std::string_view path);
    static std::string path_of_directory(const Tree& tree, int fd);
    static u64 id_at(const Tree& tree, std::string_view path);

    Tree v2_;
    Tree blkio_v1_;
    Tree memory_v1_;
    u64 own_id_ = 0;
};

}  // namespace ringloop::cgroup
