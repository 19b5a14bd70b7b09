#include "cgroup/hierarchy.h"

#include <gtest/gtest.h>
#include <netinet/in.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <array>
#include <functional>

#include "cgroup/test_cgroup.h"

namespace ringloop::cgroup {
namespace {

u64 inode_of(const UniqueFd& fd) {
    struct stat status{};
    return fd && ::fstat(fd.get(), &status) == 0 ? status.st_ino : 0;
}

// The exit code of a process that does what this one must not: change its mounts, lose its rights.
int exit_code_of(const std::function<int()>& work) {
    const pid_t pid = ::fork();
    if (pid == 0) ::_exit(work());
    int status = 0;
    ::waitpid(pid, &status, 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

class HierarchiesTest : public ::testing::Test {
protected:
    void SetUp() override {
        auto opened = Hierarchies::open();
        if (!opened) GTEST_SKIP() << "skipped: " << opened.error().message;
        hierarchies = std::move(*opened);
        mount_point = charging_mount_point();
    }

    Hierarchies hierarchies;
    std::string mount_point;
};

TEST_F(HierarchiesTest, finds_a_cgroup_by_its_number) {
    const TestCgroup cgroup(mount_point);
    SKIP_UNLESS_MADE(cgroup);
    auto place = hierarchies.find(cgroup.id());
    ASSERT_TRUE(place.has_value()) << place.error().message;
    EXPECT_EQ(place->path, cgroup.name());
    EXPECT_EQ(inode_of(mount_point_of("blkio").empty() ? place->v2 : place->blkio_v1), cgroup.id());
    EXPECT_EQ(hierarchies.path_of(cgroup.id()).value_or(""), cgroup.name());
}

TEST_F(HierarchiesTest, finds_a_cgroup_below_another) {
    const TestCgroup outer(mount_point);
    SKIP_UNLESS_MADE(outer);
    const TestCgroup inner(mount_point, outer.name() + "/a b:c (deleted)");
    ASSERT_TRUE(inner.made());
    EXPECT_EQ(hierarchies.path_of(inner.id()).value_or(""), inner.name());
    EXPECT_EQ(hierarchies.of_path(inner.name()).value_or(0), inner.id());
}

TEST_F(HierarchiesTest, finds_the_directory_of_the_same_path_for_memory) {
    if (mount_point_of("memory").empty()) GTEST_SKIP() << "skipped: memory is not v1";
    const TestCgroup charging(mount_point);
    SKIP_UNLESS_MADE(charging);
    auto place = hierarchies.find(charging.id());
    ASSERT_TRUE(place.has_value()) << place.error().message;
    EXPECT_FALSE(place->memory_v1);
    const TestCgroup memory(mount_point_of("memory"), charging.name());
    SKIP_UNLESS_MADE(memory);
    place = hierarchies.find(charging.id());
    ASSERT_TRUE(place.has_value()) << place.error().message;
    EXPECT_EQ(inode_of(place->memory_v1), memory.id());
}

TEST_F(HierarchiesTest, does_not_join_a_v2_that_charges_nobody) {
    const std::string v2 = mount_point_of("");
    if (mount_point_of("blkio").empty() || mount_point_of("memory").empty() || v2.empty()) {
        GTEST_SKIP() << "skipped: not a host with v1 and v2";
    }
    const TestCgroup charging(mount_point);
    SKIP_UNLESS_MADE(charging);
    const TestCgroup other(v2, charging.name());
    SKIP_UNLESS_MADE(other);
    auto place = hierarchies.find(charging.id());
    ASSERT_TRUE(place.has_value()) << place.error().message;
    EXPECT_FALSE(place->v2);
    EXPECT_TRUE(place->blkio_v1);
}

TEST_F(HierarchiesTest, says_that_a_cgroup_is_gone) {
    TestCgroup cgroup(mount_point);
    SKIP_UNLESS_MADE(cgroup);
    const u64 id = cgroup.id();
    ASSERT_TRUE(cgroup.remove());
    const auto place = hierarchies.find(id);
    ASSERT_FALSE(place.has_value());
    EXPECT_EQ(place.error().number, ENOENT);
    EXPECT_EQ(hierarchies.path_of(id).error().number, ENOENT);
    EXPECT_FALSE(hierarchies.find(0).has_value());
    EXPECT_FALSE(hierarchies.find(~u64{0}).has_value());
}

TEST_F(HierarchiesTest, finds_a_cgroup_without_the_right_to_open_it_by_handle) {
    const TestCgroup outer(mount_point);
    SKIP_UNLESS_MADE(outer);
    const TestCgroup inner(mount_point, outer.name() + "/b");
    ASSERT_TRUE(inner.made());
    const u64 id = inner.id();
    EXPECT_EQ(exit_code_of([&] {
                  if (::setuid(65534) != 0) return 2;
                  auto place = hierarchies.find(id);
                  if (!place || place->path != inner.name()) return 3;
                  const u64 gone = ~u64{0} >> 1;
                  return hierarchies.find(gone).has_value() ? 4 : 0;
              }),
              0);
}

TEST_F(HierarchiesTest, goes_on_after_its_mounts_were_detached) {
    if (::geteuid() != 0) GTEST_SKIP() << "skipped: needs root";
    const TestCgroup cgroup(mount_point);
    SKIP_UNLESS_MADE(cgroup);
    const u64 id = cgroup.id();
    EXPECT_EQ(exit_code_of([&] {
                  if (::unshare(CLONE_NEWNS) != 0) return 2;
                  if (::mount(nullptr, "/", nullptr, MS_PRIVATE | MS_REC, nullptr) != 0) return 3;
                  if (::umount2(mount_point.c_str(), MNT_DETACH) != 0) return 4;
                  const auto place = hierarchies.find(id);
                  if (!place || place->path != cgroup.name()) return 5;
                  if (hierarchies.of_path(cgroup.name()).value_or(0) != id) return 6;
                  if (hierarchies.of_process(::getpid()) != hierarchies.own_id()) return 7;
                  return 0;
              }),
              0);
}

TEST_F(HierarchiesTest, takes_a_path_with_or_without_the_mount_point) {
    const TestCgroup cgroup(mount_point);
    SKIP_UNLESS_MADE(cgroup);
    for (const std::string& path :
         {cgroup.name(), cgroup.name() + "/", "/" + cgroup.name(), mount_point + cgroup.name(),
          mount_point + cgroup.name() + "/"}) {
        EXPECT_EQ(hierarchies.of_path(path).value_or(0), cgroup.id()) << path;
    }
    EXPECT_EQ(hierarchies.of_path("/").value_or(0), Hierarchies::root_id);
    EXPECT_EQ(hierarchies.of_path(mount_point).value_or(0), Hierarchies::root_id);
    EXPECT_NE(cgroup.id(), Hierarchies::root_id);
}

TEST_F(HierarchiesTest, names_the_way_out_for_a_path_that_is_none) {
    const auto relative = hierarchies.of_path("tenants/a");
    ASSERT_FALSE(relative.has_value());
    EXPECT_EQ(relative.error().number, EINVAL);
    EXPECT_NE(relative.error().message.find("begins with '/'"), std::string::npos);
    const auto missing = hierarchies.of_path("/no/such/cgroup");
    ASSERT_FALSE(missing.has_value());
    EXPECT_EQ(missing.error().number, ENOENT);
    EXPECT_NE(missing.error().message.find("/proc/PID/cgroup"), std::string::npos);
    for (const char* path : {"/../..", "/cgroup.procs", "/..", ""}) {
        EXPECT_FALSE(hierarchies.of_path(path).has_value()) << path;
    }
}

TEST_F(HierarchiesTest, knows_where_a_process_is) {
    const TestCgroup cgroup(mount_point);
    SKIP_UNLESS_MADE(cgroup);
    EXPECT_NE(hierarchies.own_id(), 0U);
    EXPECT_EQ(hierarchies.of_process(::getpid()), hierarchies.own_id());
    TestProcess process([] {});
    ASSERT_EQ(write_to(cgroup.file("cgroup.procs"), std::to_string(process.pid())), 0);
    EXPECT_EQ(hierarchies.of_process(process.pid()), cgroup.id());
    const pid_t pid = process.pid();
    process.end();
    EXPECT_EQ(hierarchies.of_process(pid), 0U);
    EXPECT_EQ(hierarchies.of_process(0), 0U);
    EXPECT_EQ(hierarchies.of_process(-1), 0U);
}

// ---- peers -------------------------------------------------------------------------------------

// A listening Unix socket in the abstract namespace, and its address.
struct Listener {
    UniqueFd fd{::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0)};
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    socklen_t length = sizeof(sa_family_t);  // the kernel finds a free name

    Listener() {
        auto* name = reinterpret_cast<sockaddr*>(&address);
        EXPECT_EQ(::bind(fd.get(), name, length), 0);
        length = sizeof(address);
        EXPECT_EQ(::getsockname(fd.get(), name, &length), 0);
        EXPECT_EQ(::listen(fd.get(), 1), 0);
    }
    void connect_from_child() const {
        const int connected = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        const auto* name = reinterpret_cast<const sockaddr*>(&address);
        if (::connect(connected, name, length) != 0) ::_exit(1);
    }
};

TEST_F(HierarchiesTest, knows_the_peer_of_a_unix_socket) {
    const TestCgroup cgroup(mount_point);
    SKIP_UNLESS_MADE(cgroup);
    const Listener listener;
    TestProcess process([&] {
        if (write_to(cgroup.file("cgroup.procs"), "0") != 0) ::_exit(1);
        listener.connect_from_child();
    });
    ASSERT_TRUE(is_readable(listener.fd.get(), 10'000));
    const UniqueFd peer(::accept4(listener.fd.get(), nullptr, nullptr, SOCK_CLOEXEC));
    EXPECT_EQ(hierarchies.of_peer(peer.get()), cgroup.id());
    process.end();
    EXPECT_EQ(hierarchies.of_peer(peer.get()), 0U);
}

TEST_F(HierarchiesTest, takes_a_pair_of_sockets_for_its_makers) {
    std::array<int, 2> ends{};
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends.data()), 0);
    const UniqueFd one(ends[0]);
    const UniqueFd other(ends[1]);
    EXPECT_EQ(hierarchies.of_peer(one.get()), hierarchies.own_id());
}

TEST_F(HierarchiesTest, does_not_know_the_peers_of_other_sockets) {
    const UniqueFd tcp(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const UniqueFd unconnected(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    const UniqueFd file(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    for (const int fd : {tcp.get(), unconnected.get(), file.get(), -1}) {
        EXPECT_EQ(hierarchies.of_peer(fd), 0U) << fd;
    }
}

// ---- held processes ----------------------------------------------------------------------------

TEST_F(HierarchiesTest, sees_that_a_process_is_stopped) {
    const TestProcess process([] {});
    EXPECT_FALSE(hierarchies.process_is_held(process.pid()));
    ASSERT_EQ(::kill(process.pid(), SIGSTOP), 0);
    int status = 0;
    ASSERT_EQ(::waitpid(process.pid(), &status, WUNTRACED), process.pid());
    EXPECT_TRUE(hierarchies.process_is_held(process.pid()));
    ASSERT_EQ(::kill(process.pid(), SIGCONT), 0);
    ASSERT_EQ(::waitpid(process.pid(), &status, WCONTINUED), process.pid());
    EXPECT_FALSE(hierarchies.process_is_held(process.pid()));
}

TEST_F(HierarchiesTest, sees_that_a_process_is_frozen) {
    const TestCgroup outer(mount_point_of(""));
    SKIP_UNLESS_MADE(outer);
    const TestCgroup inner(mount_point_of(""), outer.name() + "/b");
    ASSERT_TRUE(inner.made());
    const TestProcess process([] {});
    ASSERT_EQ(write_to(inner.file("cgroup.procs"), std::to_string(process.pid())), 0);
    EXPECT_FALSE(hierarchies.process_is_held(process.pid()));
    ASSERT_EQ(write_to(outer.file("cgroup.freeze"), "1"), 0);
    EXPECT_TRUE(comes_true([&] { return hierarchies.process_is_held(process.pid()); }));
    ASSERT_EQ(write_to(outer.file("cgroup.freeze"), "0"), 0);
    EXPECT_TRUE(comes_true([&] { return !hierarchies.process_is_held(process.pid()); }));
}

TEST_F(HierarchiesTest, does_not_take_a_process_that_has_ended_for_held) {
    EXPECT_FALSE(hierarchies.process_is_held(0));
    EXPECT_FALSE(hierarchies.process_is_held(-1));
}

// ---- mounts ------------------------------------------------------------------------------------

TEST(HierarchyMounts, are_those_of_the_filesystem_that_the_table_names) {
    // /proc is no cgroup filesystem, and has another device than 0:9999.
    const auto opened = Hierarchies::open("24 23 0:9999 / /proc rw - cgroup2 cgroup2 rw\n");
    ASSERT_FALSE(opened.has_value());
    EXPECT_EQ(opened.error().number, ENOENT);
    EXPECT_NE(opened.error().message.find("mount -t cgroup2"), std::string::npos);
    EXPECT_FALSE(Hierarchies::open("").has_value());
}

TEST(HierarchyMounts, are_none_of_another_namespaces) {
    std::string table = text_of("/proc/self/mountinfo");
    ASSERT_FALSE(table.empty());
    for (std::size_t at = 0; (at = table.find(" / /", at)) != std::string::npos; at += 6) {
        table.replace(at, 4, " /.. /");
    }
    EXPECT_FALSE(Hierarchies::open(table).has_value());
}

}  // namespace
}  // namespace ringloop::cgroup
