// For tests: cgroups of their own that go away with them, and processes to put into them.
#pragma once

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <fstream>
#include <iterator>
#include <string>
#include <utility>

#include "base/mountinfo.h"
#include "base/unique_fd.h"

namespace ringloop::cgroup {

inline std::string text_of(const std::string& path) {
    std::ifstream file(path);
    return {std::istreambuf_iterator<char>(file), {}};
}

// 0 or errno: what the kernel says to one write.
inline int write_to(const std::string& path, const std::string& text) {
    const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    if (!fd) return errno;
    return ::write(fd.get(), text.data(), text.size()) < 0 ? errno : 0;
}

// For what no event tells: ten seconds at the most.
template <typename Condition>
bool comes_true(Condition&& condition) {
    for (int round = 0; round < 1000; ++round) {
        if (condition()) return true;
        ::poll(nullptr, 0, 10);
    }
    return false;
}

inline bool is_readable(int fd, int timeout_ms) {
    pollfd file = {fd, POLLIN, 0};
    return ::poll(&file, 1, timeout_ms) == 1;
}

// Where a hierarchy is mounted: "blkio", "memory", or "" for v2. "" when it is not.
inline std::string mount_point_of(const std::string& controller) {
    for (const Mount& mount : parse_mountinfo(text_of("/proc/self/mountinfo"))) {
        const bool wanted =
            controller.empty()
                ? mount.type == "cgroup2"
                : mount.type == "cgroup" &&
                      ("," + mount.options + ",").find("," + controller + ",") != std::string::npos;
        if (wanted && mount.root == "/") return mount.mount_point;
    }
    return "";
}

inline std::string charging_mount_point() {
    const std::string v1 = mount_point_of("blkio");
    return v1.empty() ? mount_point_of("") : v1;
}

// "/ringloop-test-123-4"
inline std::string new_name() {
    static std::atomic<int> number = 0;
    return "/ringloop-test-" + std::to_string(::getpid()) + "-" + std::to_string(++number);
}

class TestCgroup {
public:
    // Look at made() first: not everyone may.
    explicit TestCgroup(const std::string& mount_point, const std::string& name = new_name())
        : name_(name), directory_(mount_point + name) {
        made_ = !mount_point.empty() && ::mkdir(directory_.c_str(), 0755) == 0;
        why_ = mount_point.empty() ? ENODEV : errno;
    }
    TestCgroup(const TestCgroup&) = delete;
    TestCgroup& operator=(const TestCgroup&) = delete;
    ~TestCgroup() {
        if (made_ && !remove()) ADD_FAILURE() << directory_ << " is still in use";
    }

    bool made() const { return made_; }
    int why() const { return why_; }  // errno, when it was not made
    const std::string& name() const { return name_; }
    std::string file(const std::string& name) const { return directory_ + "/" + name; }
    UniqueFd open() const {
        return UniqueFd(::open(directory_.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    }
    u64 id() const {
        struct stat status{};
        return ::stat(directory_.c_str(), &status) == 0 ? status.st_ino : 0;
    }
    // The kernel may count a process a moment longer than anybody can see it.
    bool remove() {
        made_ = false;
        return comes_true([this] { return ::rmdir(directory_.c_str()) == 0; });
    }

private:
    std::string name_;
    std::string directory_;
    bool made_ = false;
    int why_ = 0;
};

// A process that does `work` and then waits to be killed.
class TestProcess {
public:
    template <typename Work>
    explicit TestProcess(Work&& work) {
        pid_ = ::fork();
        if (pid_ != 0) return;
        std::forward<Work>(work)();
        for (;;) ::pause();
    }
    TestProcess(const TestProcess&) = delete;
    TestProcess& operator=(const TestProcess&) = delete;
    ~TestProcess() { end(); }

    pid_t pid() const { return pid_; }
    void end() {
        if (pid_ <= 0) return;
        ::kill(pid_, SIGKILL);
        ::waitpid(std::exchange(pid_, -1), nullptr, 0);
    }

private:
    pid_t pid_;
};

#define SKIP_UNLESS_MADE(cgroup) \
    if (!(cgroup).made()) GTEST_SKIP() << "skipped: mkdir: " << errno_text((cgroup).why())

}  // namespace ringloop::cgroup
