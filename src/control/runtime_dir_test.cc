#include "control/runtime_dir.h"

#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <array>
#include <filesystem>
#include <fstream>

#include "control/test_dir.h"
#include "control/wait.h"
#include "io/uring.h"

namespace ringloop::control {
namespace {

RuntimeDir open_in(const TestDir& dir) {
    auto opened = RuntimeDir::open_at(dir / "run");
    EXPECT_TRUE(opened) << opened.error().message;
    return std::move(*opened);
}

DeviceState state_named(const std::string& name) {
    return {.name = name,
            .device = "/dev/ublkb0",
            .backing_file = "/disk.img",
            .size_bytes = 512,
            .sector_size = 512,
            .queues = 1,
            .depth = 1,
            .policy = "auto",
            .pid = 1,
            .started_at = "now",
            .boot_id = "boot"};
}

void write_file(const std::string& path, std::string_view text) {
    std::ofstream(path, std::ios::binary) << text;
}

TEST(RuntimePath, is_the_one_asked_for_then_that_of_the_system_then_that_of_the_session) {
    EXPECT_EQ(choose_runtime_path(
                  {.ringloop_runtime_dir = "/x", .xdg_runtime_dir = "/run/user/1", .root = true}),
              "/x");
    EXPECT_EQ(choose_runtime_path({.xdg_runtime_dir = "/run/user/1", .root = true}),
              "/run/ringloop");
    EXPECT_EQ(choose_runtime_path({.ringloop_runtime_dir = "", .xdg_runtime_dir = "/run/user/1"}),
              "/run/user/1/ringloop");
}

TEST(RuntimePath, that_cannot_be_chosen_names_the_way_out) {
    const auto none = choose_runtime_path({});
    ASSERT_FALSE(none);
    EXPECT_NE(none.error().message.find("RINGLOOP_RUNTIME_DIR"), std::string::npos);
    EXPECT_FALSE(choose_runtime_path({.ringloop_runtime_dir = "relative"}));
}

TEST(RuntimeDir, is_created_for_its_user) {
    const TestDir dir;
    open_in(dir);
    struct stat status{};
    ASSERT_EQ(::stat((dir / "run").c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 07777, ::geteuid() == 0 ? 0755U : 0700U);
}

TEST(RuntimeDir, below_a_missing_directory_is_an_error_that_names_it) {
    const TestDir dir;
    const auto opened = RuntimeDir::open_at(dir / "missing/run");
    ASSERT_FALSE(opened);
    EXPECT_NE(opened.error().message.find("missing/run"), std::string::npos);
}

TEST(NameLock, is_held_by_one_at_a_time) {
    const TestDir dir;
    const RuntimeDir one = open_in(dir);
    const RuntimeDir other = open_in(dir);
    {
        const auto lock = one.lock("a");
        ASSERT_TRUE(lock);
        const auto second = other.lock("a");
        ASSERT_FALSE(second);
        EXPECT_EQ(second.error().number, EBUSY);
        EXPECT_TRUE(other.lock("b")) << "another name is another lock";
    }
    EXPECT_TRUE(other.lock("a")) << "released with its holder";
}

TEST(NameLock, is_seen_without_being_taken) {
    const TestDir dir;
    const RuntimeDir runtime = open_in(dir);
    EXPECT_FALSE(runtime.is_locked("a"));
    EXPECT_FALSE(std::filesystem::exists(dir / "run/a.lock")) << "looking creates nothing";
    auto lock = runtime.lock("a");
    ASSERT_TRUE(lock);
    EXPECT_TRUE(runtime.is_locked("a"));
    runtime.remove_files(std::move(*lock));
    EXPECT_FALSE(runtime.is_locked("a"));
}

TEST(NameLock, of_a_killed_process_is_free_although_its_file_is_there) {
    const TestDir dir;
    const RuntimeDir runtime = open_in(dir);
    std::array<int, 2> locked{};
    ASSERT_EQ(::pipe(locked.data()), 0);
    const pid_t child = ::fork();
    if (child == 0) {
        const auto lock = runtime.lock("a");
        const char byte = lock ? 'y' : 'n';
        if (::write(locked[1], &byte, 1) != 1) ::_exit(1);
        for (;;) ::pause();
    }
    char byte = 0;
    ASSERT_EQ(::read(locked[0], &byte, 1), 1);
    ASSERT_EQ(byte, 'y');
    EXPECT_TRUE(runtime.is_locked("a"));
    EXPECT_FALSE(runtime.lock("a"));

    ::kill(child, SIGKILL);
    ::waitpid(child, nullptr, 0);
    EXPECT_FALSE(runtime.is_locked("a"));
    EXPECT_TRUE(runtime.lock("a"));
    ::close(locked[0]);
    ::close(locked[1]);
}

// The loser of a race may have opened the file just before the winner removed it. Locking that
// file would give it a lock that nobody else can see.
TEST(NameLock, on_a_file_that_was_replaced_is_not_mistaken_for_the_name) {
    const TestDir dir;
    const RuntimeDir runtime = open_in(dir);
    auto first = runtime.lock("a");
    ASSERT_TRUE(first);
    std::filesystem::remove(dir / "run/a.lock");
    const auto second = runtime.lock("a");
    ASSERT_TRUE(second);
    EXPECT_FALSE(runtime.lock("a"));
    EXPECT_TRUE(runtime.is_locked("a"));
}

TEST(RequestMark, is_one_at_a_time_and_no_sign_of_life) {
    const TestDir dir;
    const RuntimeDir run = open_in(dir);
    auto lock = run.lock("a");
    ASSERT_TRUE(lock);
    EXPECT_FALSE(run.has_requests("a"));
    auto mark = run.request_mark(*lock);
    ASSERT_TRUE(mark) << mark.error().message;
    EXPECT_TRUE(run.has_requests("a"));
    const auto second = run.request_mark(*lock);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().number, EBUSY);
    {
        const NameLock released = std::move(*lock);
    }
    EXPECT_FALSE(run.is_locked("a"));
    EXPECT_TRUE(run.has_requests("a"));
    mark->reset();
    EXPECT_FALSE(run.has_requests("a"));
}

// As after a kill: the descriptors of the process are gone, its ring may not be yet.
TEST(RequestMark, is_held_by_a_ring_that_knows_it) {
    const TestDir dir;
    const RuntimeDir run = open_in(dir);
    auto lock = run.lock("a");
    ASSERT_TRUE(lock);
    auto mark = run.request_mark(*lock);
    ASSERT_TRUE(mark);
    auto ring = io::Uring::create({});
    ASSERT_TRUE(ring) << ring.error().message;
    ASSERT_TRUE((*ring)->register_file(mark->get()));
    mark->reset();
    EXPECT_TRUE(run.has_requests("a"));
    ring->reset();
    // The kernel takes rings apart when it finds time; on a busy machine ten seconds were too few.
    EXPECT_TRUE(wait_until(Deadline(60'000), [&] { return !run.has_requests("a"); }));
}

TEST(StateFiles, are_listed_by_name_and_read_back) {
    const TestDir dir;
    const RuntimeDir runtime = open_in(dir);
    EXPECT_TRUE(runtime.names()->empty());
    for (const char* name : {"b", "a"}) ASSERT_TRUE(runtime.write_state(state_named(name)));
    for (const char* other : {"c.lock", ".d.json", "e f.json", "json"}) {
        write_file(dir / "run/" + other, "");
    }
    EXPECT_EQ(*runtime.names(), (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(*runtime.read_state("b"), state_named("b"));
}

TEST(StateFiles, that_are_missing_are_told_from_those_that_are_bad) {
    const TestDir dir;
    const RuntimeDir runtime = open_in(dir);
    EXPECT_EQ(runtime.read_state("a").error().number, ENOENT);
    write_file(dir / "run/a.json", "garbage");
    EXPECT_NE(runtime.read_state("a").error().number, ENOENT);
}

TEST(StateFiles, that_are_no_small_regular_file_of_their_name_are_refused) {
    const TestDir dir;
    const RuntimeDir runtime = open_in(dir);
    write_file(dir / "run/huge.json", std::string(state_file_bytes_max + 1, ' '));
    write_file(dir / "run/other.json", to_file_text(state_named("a")));
    ASSERT_EQ(::mkfifo((dir / "run/fifo.json").c_str(), 0600), 0);
    std::filesystem::create_directory(dir / "run/directory.json");
    std::filesystem::create_symlink("/etc/passwd", dir / "run/link.json");
    for (const char* name : {"huge", "other", "fifo", "directory", "link"}) {
        EXPECT_FALSE(runtime.read_state(name)) << name;
    }
}

TEST(StateFiles, that_cannot_be_written_leave_no_draft_behind) {
    const TestDir dir;
    const RuntimeDir runtime = open_in(dir);
    std::filesystem::create_directory(dir / "run/a.json");
    EXPECT_FALSE(runtime.write_state(state_named("a")));
    EXPECT_FALSE(std::filesystem::exists(dir / "run/.a.json.new"));
}

TEST(RuntimeFiles, of_a_name_are_all_removed_and_no_others) {
    const TestDir dir;
    const RuntimeDir runtime = open_in(dir);
    auto lock = runtime.lock("a");
    ASSERT_TRUE(lock);
    for (const char* file : {"a.json", "a.sock", "a.log", "a.1.log", "ab.json"}) {
        write_file(dir / "run/" + file, "");
    }
    runtime.remove_files(std::move(*lock));
    std::vector<std::string> left;
    for (const auto& entry : std::filesystem::directory_iterator(dir / "run")) {
        left.push_back(entry.path().filename());
    }
    EXPECT_EQ(left, std::vector<std::string>{"ab.json"});
}

TEST(RuntimeFiles, without_a_state_and_a_server_are_strays) {
    const TestDir dir;
    const RuntimeDir runtime = open_in(dir);
    ASSERT_TRUE(runtime.write_state(state_named("dead")));
    for (const char* file : {"dead.lock", "stray.lock", "stray.log"}) {
        write_file(dir / "run/" + file, "");
    }
    const auto starting = open_in(dir).lock("starting");
    ASSERT_TRUE(starting);
    runtime.remove_strays();
    for (const char* kept : {"dead.json", "dead.lock", "starting.lock"}) {
        EXPECT_TRUE(std::filesystem::exists(dir / "run/" + kept)) << kept;
    }
    EXPECT_FALSE(std::filesystem::exists(dir / "run/stray.lock"));
    EXPECT_FALSE(std::filesystem::exists(dir / "run/stray.log"));
}

}  // namespace
}  // namespace ringloop::control
