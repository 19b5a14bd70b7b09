#include "control/sandbox.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <cstdlib>
#include <functional>
#include <string>

#include "control/capabilities.h"
#include "control/seccomp.h"

namespace ringloop::control {
namespace {

// What `attempt` returns in a process of its own, because nobody gets out of a sandbox again.
int in_child(const std::function<int()>& attempt) {
    const pid_t pid = ::fork();
    if (pid == 0) ::_exit(attempt());
    int status = 0;
    ::waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 255;
}

int opened(const char* path) {
    const UniqueFd fd(::open(path, O_RDONLY | O_CLOEXEC));
    return fd ? 0 : errno;
}

TEST(Sandbox, leaves_a_thread_the_facts_of_the_system_and_no_other_file) {
    if (!landlock_version()) GTEST_SKIP() << landlock_version().error().message;
    const auto attempt = [](const char* path) {
        return in_child([path] {
            Sandbox sandbox;
            if (!sandbox.prepare({})) return 254;
            sandbox.confine_shard();
            return opened(path);
        });
    };
    EXPECT_EQ(attempt("/proc/self/stat"), 0);
    EXPECT_EQ(attempt("/etc/passwd"), EACCES);
    EXPECT_EQ(in_child([] { return opened("/etc/passwd"); }), 0);
}

TEST(Sandbox, filters_what_a_server_does_not_do) {
    if (const Status there = system_call_filter_available(); !there) {
        GTEST_SKIP() << there.error().message;
    }
    EXPECT_EQ(in_child([] {
                  Sandbox sandbox;
                  if (!sandbox.prepare({}) || !sandbox.confine()) return 254;
                  if (!sandbox.report().seccomp.on) return 253;
                  return ::socket(AF_INET, SOCK_STREAM, 0) >= 0 ? 0 : errno;
              }),
              EPERM);
}

TEST(Sandbox, opens_an_image_again_and_nothing_by_its_path) {
    EXPECT_EQ(in_child([] {
                  const UniqueFd looked_up(::open("/etc/passwd", O_PATH | O_CLOEXEC));
                  Sandbox sandbox;
                  if (!sandbox.prepare({}) || !sandbox.confine()) return 254;
                  const UniqueFd image = backing::reopen(looked_up.get(), O_RDONLY);
                  char byte = 0;
                  if (::pread(image.get(), &byte, 1, 0) != 1) return 253;
                  // Only what images are opened with.
                  const UniqueFd written = backing::reopen(looked_up.get(), O_RDONLY | O_TRUNC);
                  return written ? 252 : errno;
              }),
              EINVAL);
}

TEST(Sandbox, keeps_no_capability_for_a_socket) {
    if (::geteuid() != 0) GTEST_SKIP() << "there is nothing to give up: not root";
    EXPECT_EQ(in_child([] {
                  constexpr u32 cap_chown = 0;
                  Sandbox sandbox;
                  if (!sandbox.prepare({}) || !has_capability(cap_chown)) return 254;
                  if (!sandbox.confine() || !sandbox.report().kept.empty()) return 253;
                  return has_capability(cap_chown) ? 1 : 0;
              }),
              0);
}

TEST(Sandbox, is_nothing_where_it_is_off) {
    EXPECT_EQ(in_child([] {
                  Sandbox sandbox;
                  if (!sandbox.prepare({.choice = SandboxChoice::off}) || !sandbox.confine())
                      return 254;
                  return sandbox.report().landlock.on ? 253 : opened("/etc/passwd");
              }),
              0);
}

}  // namespace
}  // namespace ringloop::control
