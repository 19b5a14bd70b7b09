#include "cgroup/spawner.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/mman.h>

#include <array>
#include <atomic>
#include <filesystem>
#include <memory>
#include <new>
#include <optional>

#include "cgroup/test_cgroup.h"
#include "io/uring.h"

namespace ringloop::cgroup {
namespace {

constexpr int patience_ms = 10'000;

// What a lane finds at the address where the test mapped it.
struct Shared {
    enum class Work : u32 { wait, end, hold_by_ring };

    std::atomic<Work> work = Work::wait;
    std::atomic<u32> begun = 0;
    std::atomic<u32> index = 0;
    std::atomic<Shared*> self = nullptr;
    std::atomic<i32> doorbell = -1;
};

void run_lane(void* context, u32 index, int doorbell_fd, int life_fd) {
    auto& shared = *static_cast<Shared*>(context);
    std::unique_ptr<io::Uring> ring;
    if (shared.work == Shared::Work::hold_by_ring) {
        auto created = io::Uring::create({});
        if (!created || !(*created)->register_file(life_fd)) return;
        ring = std::move(*created);
        ::close(life_fd);
    }
    shared.self = &shared;
    shared.index = index;
    shared.doorbell = doorbell_fd;
    ++shared.begun;
    const u64 one = 1;
    if (::write(doorbell_fd, &one, sizeof(one)) != sizeof(one)) return;
    if (shared.work == Shared::Work::end) return;
    for (;;) ::pause();
}

// The server itself, its spawner and what they share.
class SpawnerTest : public ::testing::Test {
protected:
    void SetUp() override {
        void* memory = ::mmap(nullptr, sizeof(Shared), PROT_READ | PROT_WRITE,
                              MAP_SHARED | MAP_ANONYMOUS, -1, 0);
        ASSERT_NE(memory, MAP_FAILED);
        shared = new (memory) Shared;
        doorbell.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
        const std::array kept = {STDERR_FILENO, doorbell.get()};  // stderr: for the sanitizers
        auto started = Spawner::start(run_lane, shared, kept);
        ASSERT_TRUE(started.has_value()) << started.error().message;
        spawner.emplace(std::move(*started));
    }
    void TearDown() override {
        spawner.reset();
        ::munmap(shared, sizeof(Shared));
    }

    bool rings() const {
        u64 count = 0;
        return is_readable(doorbell.get(), patience_ms) &&
               ::read(doorbell.get(), &count, sizeof(count)) == sizeof(count);
    }
    static bool has_ended(const Process& process) {
        return is_readable(process.life.get(), patience_ms) &&
               is_readable(process.pidfd.get(), patience_ms);
    }

    Shared* shared = nullptr;
    UniqueFd doorbell;
    std::optional<Spawner> spawner;
    const Place nowhere{.path = "/nowhere"};  // the cgroup of the nursery
};

std::size_t entries_of(const std::string& directory) {
    std::error_code error;
    const std::filesystem::directory_iterator list(directory, error);
    return static_cast<std::size_t>(std::distance(begin(list), end(list)));
}

std::string proc(pid_t pid, const std::string& file) {
    return text_of("/proc/" + std::to_string(pid) + "/" + file);
}

bool is_in(pid_t pid, const std::string& controller, const std::string& path) {
    const std::string line = ":" + controller + ":" + path + "\n";
    return proc(pid, "cgroup").find(line) != std::string::npos;
}

// ---- what a lane is ----------------------------------------------------------------------------

TEST_F(SpawnerTest, starts_a_lane_that_shares_memory_at_the_same_address) {
    auto lane = spawner->spawn(nowhere, 7, doorbell.get());
    ASSERT_TRUE(lane.has_value()) << lane.error().message;
    ASSERT_TRUE(rings());
    EXPECT_EQ(shared->self, shared);
    EXPECT_EQ(shared->index, 7U);
    EXPECT_GT(lane->pid, 0);
    EXPECT_NE(lane->pid, spawner->nursery_pid());
    EXPECT_FALSE(is_readable(lane->life.get(), 0));
    Spawner::kill(*lane);
    EXPECT_TRUE(has_ended(*lane));
}

TEST_F(SpawnerTest, gives_later_lanes_another_file_in_place_of_one) {
    const std::string kept = "/fd/" + std::to_string(doorbell.get());
    const auto is_null = [&](pid_t pid) {
        std::error_code error;
        const auto link = "/proc/" + std::to_string(pid) + kept;
        return std::filesystem::read_symlink(link, error) == "/dev/null";
    };
    auto earlier = spawner->spawn(nowhere, 0, doorbell.get());
    ASSERT_TRUE(earlier.has_value()) << earlier.error().message;
    ASSERT_TRUE(rings());
    const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    const Status replaced = spawner->replace(doorbell.get(), null.get());
    ASSERT_TRUE(replaced.has_value()) << replaced.error().message;
    EXPECT_TRUE(is_null(spawner->nursery_pid())) << "so that it holds the old one no more";
    auto later = spawner->spawn(nowhere, 1, doorbell.get());
    ASSERT_TRUE(later.has_value()) << later.error().message;
    ASSERT_TRUE(rings());
    EXPECT_TRUE(is_null(later->pid));
    EXPECT_FALSE(is_null(earlier->pid));
    // A number that is none: then nobody knows what lanes would have, and there are none.
    EXPECT_FALSE(spawner->replace(1 << 30, null.get()).has_value());
    EXPECT_FALSE(spawner->spawn(nowhere, 2, doorbell.get()).has_value());
}

TEST_F(SpawnerTest, names_its_processes) {
    auto lane = spawner->spawn(nowhere, 0, doorbell.get());
    ASSERT_TRUE(lane.has_value()) << lane.error().message;
    ASSERT_TRUE(rings());
    EXPECT_EQ(proc(lane->pid, "comm"), "ringloop-lane\n");
    EXPECT_EQ(proc(spawner->nursery_pid(), "comm"), "ringloop-lanes\n");
}

TEST_F(SpawnerTest, gives_a_lane_the_descriptors_that_it_needs_and_no_others) {
    auto lane = spawner->spawn(nowhere, 0, doorbell.get());
    ASSERT_TRUE(lane.has_value()) << lane.error().message;
    ASSERT_TRUE(rings());
    const std::string folder = "/proc/" + std::to_string(lane->pid) + "/fd";
    // 0 to 2, the doorbell that the nursery kept, this lane's doorbell and its life.
    EXPECT_EQ(entries_of(folder), 6U);
    EXPECT_NE(shared->doorbell, doorbell.get());
    // 0 to 2, the doorbell that it kept and its socket.
    const std::string nursery = "/proc/" + std::to_string(spawner->nursery_pid()) + "/fd";
    EXPECT_TRUE(comes_true([&] { return entries_of(nursery) == 5; })) << entries_of(nursery);
}

TEST_F(SpawnerTest, ends_a_lane_whose_work_is_done) {
    shared->work = Shared::Work::end;
    auto lane = spawner->spawn(nowhere, 0, doorbell.get());
    ASSERT_TRUE(lane.has_value()) << lane.error().message;
    EXPECT_TRUE(has_ended(*lane));
    Spawner::kill(*lane);  // harmless
}

TEST_F(SpawnerTest, lets_a_lane_be_told_to_end) {
    auto lane = spawner->spawn(nowhere, 0, doorbell.get());
    ASSERT_TRUE(lane.has_value()) << lane.error().message;
    ASSERT_TRUE(rings());
    ASSERT_EQ(::kill(spawner->nursery_pid(), SIGTERM), 0);
    ASSERT_EQ(::kill(lane->pid, SIGTERM), 0);
    EXPECT_TRUE(has_ended(*lane));
    EXPECT_TRUE(spawner->spawn(nowhere, 0, doorbell.get()).has_value());
}

TEST_F(SpawnerTest, keeps_life_open_while_a_ring_has_it) {
    shared->work = Shared::Work::hold_by_ring;
    auto lane = spawner->spawn(nowhere, 0, doorbell.get());
    ASSERT_TRUE(lane.has_value()) << lane.error().message;
    if (!rings()) GTEST_SKIP() << "skipped: no io_uring here";
    EXPECT_FALSE(is_readable(lane->life.get(), 0));
    Spawner::kill(*lane);
    EXPECT_TRUE(has_ended(*lane));
}

// ---- who ends with whom ------------------------------------------------------------------------

TEST_F(SpawnerTest, takes_its_lanes_with_it) {
    auto lane = spawner->spawn(nowhere, 0, doorbell.get());
    ASSERT_TRUE(lane.has_value()) << lane.error().message;
    ASSERT_TRUE(rings());
    const pid_t nursery = spawner->nursery_pid();
    spawner.reset();
    EXPECT_EQ(::kill(nursery, 0), -1);
    EXPECT_EQ(errno, ESRCH);
    EXPECT_TRUE(has_ended(*lane));
}

TEST_F(SpawnerTest, says_at_once_and_for_ever_that_the_nursery_has_died) {
    auto lane = spawner->spawn(nowhere, 0, doorbell.get());
    ASSERT_TRUE(lane.has_value()) << lane.error().message;
    ASSERT_TRUE(rings());
    ASSERT_EQ(::kill(spawner->nursery_pid(), SIGKILL), 0);
    EXPECT_TRUE(has_ended(*lane));
    for (int round = 0; round < 3; ++round) {
        const auto refused = spawner->spawn(nowhere, 0, doorbell.get());
        ASSERT_FALSE(refused.has_value());
        EXPECT_EQ(refused.error().number, EPIPE);
    }
}

TEST_F(SpawnerTest, never_begins_a_lane_that_it_has_given_up) {
    ASSERT_EQ(::kill(spawner->nursery_pid(), SIGSTOP), 0);
    const auto late = spawner->spawn(nowhere, 1, doorbell.get());
    ASSERT_FALSE(late.has_value());
    EXPECT_EQ(late.error().number, ETIMEDOUT);
    ASSERT_EQ(::kill(spawner->nursery_pid(), SIGCONT), 0);
    auto lane = spawner->spawn(nowhere, 2, doorbell.get());
    ASSERT_TRUE(lane.has_value()) << lane.error().message;
    ASSERT_TRUE(rings());
    EXPECT_EQ(shared->index, 2U);
    const std::string pid = std::to_string(spawner->nursery_pid());
    const std::string children = "/proc/" + pid + "/task/" + pid + "/children";
    EXPECT_TRUE(comes_true([&] { return text_of(children) == std::to_string(lane->pid) + " "; }));
    EXPECT_EQ(shared->begun, 1U);
}

TEST_F(SpawnerTest, refuses_a_descriptor_that_is_none) {
    const auto refused = spawner->spawn(nowhere, 0, -1);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().number, EBADF);
    EXPECT_TRUE(spawner->spawn(nowhere, 0, doorbell.get()).has_value());
}

// ---- cgroups -----------------------------------------------------------------------------------

TEST_F(SpawnerTest, puts_a_lane_into_a_cgroup_of_v2) {
    const TestCgroup cgroup(mount_point_of(""));
    SKIP_UNLESS_MADE(cgroup);
    const Place place{.path = cgroup.name(), .v2 = cgroup.open()};
    auto lane = spawner->spawn(place, 0, doorbell.get());
    ASSERT_TRUE(lane.has_value()) << lane.error().message;
    ASSERT_TRUE(rings());
    EXPECT_TRUE(is_in(lane->pid, "", cgroup.name())) << proc(lane->pid, "cgroup");
    Spawner::kill(*lane);
    EXPECT_TRUE(has_ended(*lane));
}

TEST_F(SpawnerTest, puts_a_lane_into_both_cgroups_of_v1) {
    const TestCgroup blkio(mount_point_of("blkio"));
    SKIP_UNLESS_MADE(blkio);
    const TestCgroup memory(mount_point_of("memory"));
    SKIP_UNLESS_MADE(memory);
    const Place place{.path = blkio.name(), .blkio_v1 = blkio.open(), .memory_v1 = memory.open()};
    auto lane = spawner->spawn(place, 0, doorbell.get());
    ASSERT_TRUE(lane.has_value()) << lane.error().message;
    ASSERT_TRUE(rings());
    EXPECT_TRUE(is_in(lane->pid, "blkio", blkio.name())) << proc(lane->pid, "cgroup");
    EXPECT_TRUE(is_in(lane->pid, "memory", memory.name())) << proc(lane->pid, "cgroup");
    Spawner::kill(*lane);
    EXPECT_TRUE(has_ended(*lane));
}

TEST_F(SpawnerTest, puts_a_lane_into_the_place_that_the_hierarchies_find) {
    const auto hierarchies = Hierarchies::open();
    if (!hierarchies) GTEST_SKIP() << "skipped: " << hierarchies.error().message;
    const TestCgroup cgroup(charging_mount_point());
    SKIP_UNLESS_MADE(cgroup);
    const auto place = hierarchies->find(cgroup.id());
    ASSERT_TRUE(place.has_value()) << place.error().message;
    auto lane = spawner->spawn(*place, 0, doorbell.get());
    ASSERT_TRUE(lane.has_value()) << lane.error().message;
    EXPECT_EQ(hierarchies->of_process(lane->pid), cgroup.id());
    Spawner::kill(*lane);
    EXPECT_TRUE(has_ended(*lane));
}

TEST_F(SpawnerTest, leaves_nothing_of_two_hundred_cgroups) {
    const auto hierarchies = Hierarchies::open();
    if (!hierarchies) GTEST_SKIP() << "skipped: " << hierarchies.error().message;
    const std::string nursery = std::to_string(spawner->nursery_pid());
    const std::string folder_of_nursery = "/proc/" + nursery + "/fd";
    const std::size_t ours = entries_of("/proc/self/fd");
    for (u32 index = 0; index < 200; ++index) {
        TestCgroup cgroup(charging_mount_point());
        SKIP_UNLESS_MADE(cgroup);
        const auto place = hierarchies->find(cgroup.id());
        ASSERT_TRUE(place.has_value()) << place.error().message;
        auto lane = spawner->spawn(*place, index, doorbell.get());
        ASSERT_TRUE(lane.has_value()) << lane.error().message;
        ASSERT_TRUE(rings());
        EXPECT_EQ(shared->index, index);
        Spawner::kill(*lane);
        ASSERT_TRUE(has_ended(*lane));
        ASSERT_TRUE(cgroup.remove());
    }
    EXPECT_EQ(entries_of("/proc/self/fd"), ours);
    EXPECT_TRUE(comes_true([&] { return entries_of(folder_of_nursery) == 5; }));
    EXPECT_EQ(text_of("/proc/" + nursery + "/task/" + nursery + "/children"), "");
}

TEST_F(SpawnerTest, starts_a_lane_in_a_frozen_cgroup_that_begins_when_it_thaws) {
    const auto hierarchies = Hierarchies::open();
    const TestCgroup cgroup(mount_point_of(""));
    SKIP_UNLESS_MADE(cgroup);
    ASSERT_EQ(write_to(cgroup.file("cgroup.freeze"), "1"), 0);
    const Place place{.path = cgroup.name(), .v2 = cgroup.open()};
    auto lane = spawner->spawn(place, 0, doorbell.get());
    ASSERT_TRUE(lane.has_value()) << lane.error().message;
    EXPECT_TRUE(comes_true([&] { return hierarchies->process_is_held(lane->pid); }));
    EXPECT_EQ(shared->begun, 0U);
    ASSERT_EQ(write_to(cgroup.file("cgroup.freeze"), "0"), 0);
    EXPECT_TRUE(rings());
    Spawner::kill(*lane);
    EXPECT_TRUE(has_ended(*lane));
}

TEST_F(SpawnerTest, hears_of_the_nurserys_death_while_a_lane_is_frozen) {
    const TestCgroup cgroup(mount_point_of(""));
    SKIP_UNLESS_MADE(cgroup);
    ASSERT_EQ(write_to(cgroup.file("cgroup.freeze"), "1"), 0);
    const Place place{.path = cgroup.name(), .v2 = cgroup.open()};
    auto lane = spawner->spawn(place, 0, doorbell.get());
    ASSERT_TRUE(lane.has_value()) << lane.error().message;
    ASSERT_EQ(::kill(spawner->nursery_pid(), SIGKILL), 0);
    EXPECT_TRUE(comes_true([&] { return !spawner->spawn(place, 0, doorbell.get()).has_value(); }));
    EXPECT_EQ(spawner->spawn(place, 0, doorbell.get()).error().number, EPIPE);
    // It never came so far as to ask to die with the nursery; but it finds that it is alone.
    ASSERT_EQ(write_to(cgroup.file("cgroup.freeze"), "0"), 0);
    EXPECT_TRUE(has_ended(*lane));
    EXPECT_EQ(shared->begun, 0U);
}

void expect_refused(Spawner& spawner, const Place& place, int doorbell, i32 number,
                    const std::string& way_out) {
    const auto refused = spawner.spawn(place, 0, doorbell);
    ASSERT_FALSE(refused.has_value());
    EXPECT_EQ(refused.error().number, number) << refused.error().message;
    EXPECT_NE(refused.error().message.find(place.path), std::string::npos);
    EXPECT_NE(refused.error().message.find(way_out), std::string::npos) << refused.error().message;
}

TEST_F(SpawnerTest, says_that_the_cgroup_is_gone) {
    for (const std::string controller : {"", "blkio", "memory"}) {
        TestCgroup cgroup(mount_point_of(controller));
        if (!cgroup.made()) continue;
        Place place{.path = cgroup.name()};
        (controller.empty()      ? place.v2
         : controller == "blkio" ? place.blkio_v1
                                 : place.memory_v1) = cgroup.open();
        ASSERT_TRUE(cgroup.remove());
        expect_refused(*spawner, place, doorbell.get(), ENOENT, "is gone");
    }
    EXPECT_TRUE(spawner->spawn(nowhere, 0, doorbell.get()).has_value());
    ASSERT_TRUE(rings());
    EXPECT_EQ(shared->begun, 1U);
}

TEST_F(SpawnerTest, says_that_a_cgroup_is_no_domain) {
    const TestCgroup outer(mount_point_of(""));
    SKIP_UNLESS_MADE(outer);
    const TestCgroup threaded(mount_point_of(""), outer.name() + "/b");
    const TestCgroup invalid(mount_point_of(""), outer.name() + "/c");
    ASSERT_TRUE(threaded.made() && invalid.made());
    ASSERT_EQ(write_to(threaded.file("cgroup.type"), "threaded"), 0);
    const Place place{.path = invalid.name(), .v2 = invalid.open()};
    expect_refused(*spawner, place, doorbell.get(), EOPNOTSUPP, "cgroup.type");
}

// Only where v2 has the controllers.
class ControllersTest : public SpawnerTest {
protected:
    void SetUp() override {
        SpawnerTest::SetUp();
        const std::string file = mount_point_of("") + "/cgroup.subtree_control";
        if (const int number = write_to(file, "+pids +memory"); number != 0) {
            GTEST_SKIP() << "skipped: v2 has no pids and memory here: " << errno_text(number);
        }
    }
};

TEST_F(ControllersTest, says_that_a_cgroup_is_full) {
    const TestCgroup cgroup(mount_point_of(""));
    SKIP_UNLESS_MADE(cgroup);
    ASSERT_EQ(write_to(cgroup.file("pids.max"), "0"), 0);
    const Place place{.path = cgroup.name(), .v2 = cgroup.open()};
    expect_refused(*spawner, place, doorbell.get(), EAGAIN, "pids.max");
    ASSERT_EQ(write_to(cgroup.file("pids.max"), "1"), 0);
    EXPECT_TRUE(spawner->spawn(place, 0, doorbell.get()).has_value());
    spawner.reset();
}

TEST_F(ControllersTest, says_that_a_cgroup_gives_its_controllers_away) {
    const TestCgroup cgroup(mount_point_of(""));
    SKIP_UNLESS_MADE(cgroup);
    ASSERT_EQ(write_to(cgroup.file("cgroup.subtree_control"), "+memory"), 0);
    const Place place{.path = cgroup.name(), .v2 = cgroup.open()};
    expect_refused(*spawner, place, doorbell.get(), EBUSY, "cgroup.subtree_control");
}

}  // namespace
}  // namespace ringloop::cgroup
