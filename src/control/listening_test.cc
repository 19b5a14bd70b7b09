#include "control/listening.h"

#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstdlib>
#include <cstring>
#include <fstream>

#include "control/test_dir.h"

namespace ringloop::control {
namespace {

bool accepts(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::memcpy(address.sun_path, path.data(), path.size());
    const UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0));
    return ::connect(socket.get(), reinterpret_cast<sockaddr*>(&address), sizeof address) == 0;
}

bool exists(const std::string& path) {
    struct stat file{};
    return ::lstat(path.c_str(), &file) == 0;
}

TEST(Listening, on_a_path_is_for_its_owner_alone_and_removed_at_the_end) {
    const TestDir dir;
    {
        const auto listening = listen_on_unix(dir / "s", 0);
        ASSERT_TRUE(listening) << listening.error().message;
        struct stat file{};
        ASSERT_EQ(::lstat((dir / "s").c_str(), &file), 0);
        EXPECT_EQ(file.st_mode, static_cast<mode_t>(S_IFSOCK | 0600));
        EXPECT_TRUE(accepts(dir / "s"));
    }
    EXPECT_FALSE(exists(dir / "s"));
}

TEST(Listening, replaces_the_socket_of_a_dead_server) {
    const TestDir dir;
    {
        auto dead = listen_on_unix(dir / "s", 0);
        ASSERT_TRUE(dead);
        dead->take_socket().reset();
        ASSERT_EQ(::rename((dir / "s").c_str(), (dir / "stale").c_str()), 0);
    }
    ASSERT_TRUE(exists(dir / "stale"));
    const auto listening = listen_on_unix(dir / "stale", 0);
    ASSERT_TRUE(listening) << listening.error().message;
    EXPECT_TRUE(accepts(dir / "stale"));
}

TEST(Listening, leaves_the_socket_of_a_living_server) {
    const TestDir dir;
    const auto first = listen_on_unix(dir / "s", 0);
    ASSERT_TRUE(first);
    const auto second = listen_on_unix(dir / "s", 0);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().number, EADDRINUSE);
    EXPECT_TRUE(accepts(dir / "s"));
}

TEST(Listening, leaves_what_is_no_socket) {
    const TestDir dir;
    std::ofstream(dir / "file") << "content";
    const auto listening = listen_on_unix(dir / "file", 0);
    ASSERT_FALSE(listening);
    EXPECT_EQ(listening.error().number, EEXIST);
    remove_dead_socket(dir / "file");
    EXPECT_TRUE(exists(dir / "file"));
}

TEST(Listening, removes_no_file_but_its_own) {
    const TestDir dir;
    auto listening = listen_on_unix(dir / "s", 0);
    ASSERT_TRUE(listening);
    ASSERT_EQ(::rename((dir / "s").c_str(), (dir / "moved").c_str()), 0);
    std::ofstream(dir / "s") << "somebody else's";
    listening->remove_file();
    EXPECT_TRUE(exists(dir / "s"));
}

TEST(Listening, for_other_hosts_takes_more_than_an_address) {
    const Address anywhere{.kind = Address::Kind::tcp, .host = "0.0.0.0", .port = 0};
    const auto refused = listen_on(anywhere, {.local_only = true});
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().number, EPERM);
    EXPECT_TRUE(listen_on(anywhere, {.local_only = false}));
}

TEST(InheritedSockets, are_none_without_their_variables_or_for_another_process) {
    ::unsetenv("LISTEN_PID");
    ::unsetenv("LISTEN_FDS");
    EXPECT_TRUE(inherited_sockets()->empty());
    ::setenv("LISTEN_PID", "1", 1);
    ::setenv("LISTEN_FDS", "1", 1);
    EXPECT_TRUE(inherited_sockets()->empty());
    EXPECT_EQ(std::getenv("LISTEN_FDS"), nullptr) << "not for our children either";
}

TEST(InheritedSockets, that_are_no_number_are_refused) {
    ::setenv("LISTEN_PID", fmt::format("{}", ::getpid()).c_str(), 1);
    ::setenv("LISTEN_FDS", "-1", 1);
    EXPECT_FALSE(inherited_sockets());
}

}  // namespace
}  // namespace ringloop::control
