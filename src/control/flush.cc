#include "control/flush.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include <vector>

#include "base/unique_fd.h"
#include "control/holders.h"

namespace ringloop::control {

void flush_disk(const std::string& device) {
    for (const BlockNode& node : nodes_of(device)) {
        const std::string path = "/dev/" + node.name;
        const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
        // Syncs the filesystem that is mounted from it, too (bd_holder_ops->sync), which an fsync
        // of the node does not. It returns errors only for a missing privilege.
        if (fd && ::ioctl(fd.get(), BLKFLSBUF, 0) != 0) ::fsync(fd.get());
    }
}

bool flush_disk_in_child(const std::string& device, const Deadline& deadline) {
    std::vector<std::string> words = {"blockdev", "--flushbufs"};
    for (const BlockNode& node : nodes_of(device)) words.push_back("/dev/" + node.name);
    std::vector<char*> arguments;
    for (std::string& word : words) arguments.push_back(word.data());
    arguments.push_back(nullptr);
    pid_t pid = 0;
    if (::posix_spawn(&pid, "/sbin/blockdev", nullptr, nullptr, arguments.data(), environ) != 0) {
        return false;
    }
    int status = 0;
    const bool ended = wait_until(deadline, [&] { return ::waitpid(pid, &status, WNOHANG) != 0; });
    return ended && WIFEXITED(status) && WEXITSTATUS(status) == 0;
}

}  // namespace ringloop::control
