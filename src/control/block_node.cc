#include "control/block_node.h"

#include <fcntl.h>
#include <spawn.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/wait.h>

#include <cstdlib>

#include "abi/blkpg.h"
#include "base/unique_fd.h"
#include "control/files.h"
#include "control/holders.h"
#include "control/kernel.h"
#include "control/wait.h"

namespace ringloop::control {
namespace {

constexpr u64 node_timeout_ms = 10'000;

// devtmpfs has the node when the driver returns; elsewhere a daemon makes it. "Usable" is: it
// opens.
Status wait_for_node(const std::string& path, const Deadline& deadline) {
    int number = 0;
    const bool opened = wait_until(deadline, [&] {
        const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
        number = fd ? 0 : errno;
        return static_cast<bool>(fd);
    });
    if (opened) return {};
    if (number == ENOENT) {
        return fail(number, "{} did not appear; is /dev a devtmpfs, or is udev running?", path);
    }
    return fail_errno(number, "{}", path);
}

}  // namespace

void load_module(const std::string& module, const std::vector<std::string>& arguments) {
    if (path_exists("/sys/module/" + module) || ::geteuid() != 0) return;
    std::vector<std::string> words = {"modprobe", "--quiet", module};
    words.insert(words.end(), arguments.begin(), arguments.end());
    std::vector<char*> pointers;
    for (std::string& word : words) pointers.push_back(word.data());
    pointers.push_back(nullptr);
    for (const char* program : {"/sbin/modprobe", "/usr/sbin/modprobe"}) {
        pid_t pid = 0;
        if (::posix_spawn(&pid, program, nullptr, nullptr, pointers.data(), environ) != 0) continue;
        ::waitpid(pid, nullptr, 0);
        return;
    }
}

Status wait_for_nodes(const std::string& device) {
    const Deadline deadline(node_timeout_ms);
    TRY(wait_for_node(device, deadline));
    for (const BlockNode& node : nodes_of(device)) {
        const std::string path = "/dev/" + node.name;
        if (!wait_until(deadline, [&] { return path_exists(path); })) {
            return fail(ENOENT, "{} did not appear; is udev running?", path);
        }
    }
    return {};
}

void remove_partitions(const std::string& device) {
    if (!device.starts_with("/dev/")) return;
    const UniqueFd disk(::open(device.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!disk) return;
    for (const BlockNode& node : nodes_of(device)) {
        blkpg_partition partition{};
        const std::string number =
            read_line(fmt::format("/sys/class/block/{}/partition", node.name));
        if (number.empty()) continue;  // the disk itself
        partition.pno = std::atoi(number.c_str());
        blkpg_ioctl_arg argument{
            .op = BLKPG_DEL_PARTITION, .flags = 0, .datalen = sizeof partition, .data = &partition};
        // EBUSY: somebody was quick enough to use it.
        ::ioctl(disk.get(), BLKPG, &argument);
    }
}

void use_no_scheduler(const std::string& device) {
    const std::string path =
        fmt::format("/sys/block{}/queue/scheduler", device.substr(device.rfind('/')));
    if (read_line(path).find("[none]") == std::string::npos) write_setting(path, "none");
}

Status set_read_only(const std::string& device, bool read_only) {
    for (const BlockNode& node : nodes_of(device)) {
        const std::string path = "/dev/" + node.name;
        const int value = read_only ? 1 : 0;
        const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
        if (!fd || ::ioctl(fd.get(), BLKROSET, &value) != 0) {
            return fail_errno(errno, "{}: cannot be made {}", path,
                              read_only ? "read-only" : "writable");
        }
    }
    const std::string flag =
        read_line(fmt::format("/sys/block{}/ro", device.substr(device.rfind('/'))));
    if (read_only || flag != "1") return {};
    static_cast<void>(set_read_only(device, true));
    return fail(EROFS,
                "{}: its driver knows the disk as read-only since it was attached; detach it and "
                "attach the image without --read-only",
                device);
}

void forget_read_only(const std::string& device) {
    const int value = 0;
    const UniqueFd disk(::open(device.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (disk) ::ioctl(disk.get(), BLKROSET, &value);
}

bool write_setting(const std::string& path, const std::string& value) {
    const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    return fd &&
           ::write(fd.get(), value.data(), value.size()) == static_cast<ssize_t>(value.size());
}

}  // namespace ringloop::control
