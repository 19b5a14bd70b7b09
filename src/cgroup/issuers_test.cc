#include "cgroup/issuers.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include <array>
#include <utility>

#include "backing/test_dir.h"
#include "backing/test_loop_device.h"

namespace ringloop::cgroup {
namespace {

// Of the kernel's loop driver.
constexpr u32 loop_queues = 1;
constexpr u32 loop_depth = 128;

u64 inode_of(const std::string& path) {
    struct stat found{};
    return ::stat(path.c_str(), &found) == 0 ? found.st_ino : 0;
}

// A cgroup of its own, in the hierarchy that charges I/O.
class TestCgroup {
public:
    explicit TestCgroup(const std::string& name) {
        for (const auto& [parent, charges_io] :
             {std::pair{"/sys/fs/cgroup/blkio", "blkio.throttle.io_service_bytes"},
              std::pair{"/sys/fs/cgroup", "io.stat"}}) {
            path_ = fmt::format("{}/ringloop-{}-{}", parent, name, ::getpid());
            if (::mkdir(path_.c_str(), 0755) != 0) {
                path_.clear();
            } else if (inode_of(path_ + "/" + charges_io) != 0) {
                return;
            } else {
                ::rmdir(std::exchange(path_, "").c_str());
            }
        }
    }
    ~TestCgroup() {
        if (!path_.empty()) ::rmdir(path_.c_str());
    }
    TestCgroup(const TestCgroup&) = delete;
    TestCgroup& operator=(const TestCgroup&) = delete;

    explicit operator bool() const { return !path_.empty(); }
    u64 id() const { return inode_of(path_); }

    // Reads one block of `disk` past the page cache, as a process in this cgroup.
    bool reads(const std::string& disk) const {
        const pid_t child = ::fork();
        if (child == 0) ::_exit(join() && read_block(disk) ? 0 : 1);
        int status = -1;
        ::waitpid(child, &status, 0);
        return status == 0;
    }

private:
    static bool write_line(const std::string& path, std::string_view line) {
        const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
        return fd && ::write(fd.get(), line.data(), line.size()) == std::ssize(line);
    }
    bool join() const { return write_line(path_ + "/cgroup.procs", "0"); }
    static bool read_block(const std::string& disk) {
        alignas(4096) std::array<char, 4096> block;
        const UniqueFd fd(::open(disk.c_str(), O_RDONLY | O_DIRECT | O_CLOEXEC));
        return fd && ::read(fd.get(), block.data(), block.size()) == std::ssize(block);
    }

    std::string path_;
};

u32 slots_of(const Issuers& issuers, u64 id) {
    u32 count = 0;
    for (u32 tag = 0; tag < loop_depth; ++tag) count += issuers.of(0, tag) == id;
    return count;
}

class OnThisKernel : public ::testing::Test {
protected:
    void SetUp() override {
        const Status available = issuers_available();
        if (!available) GTEST_SKIP() << available.error().message;
        if (!alice || !bob) GTEST_SKIP() << "no cgroup that charges I/O can be made here";
        if (!disk) GTEST_SKIP() << "no loop device can be made here (needs root)";
    }

    std::string name() const { return disk.path().substr(std::string_view("/dev/").size()); }

    backing::TestDir dir;
    backing::LoopDevice disk{dir.sparse("disk.img", 1 * mib), 512, false};
    TestCgroup alice{"alice"};
    TestCgroup bob{"bob"};
};

TEST(Issuers, of_a_simulated_disk_are_what_its_slots_say) {
    const std::array<u64, 6> slots = {10, 11, 12, 20, 21, 22};
    const Issuers issuers = Issuers::on(slots.data(), 2, 3);
    EXPECT_EQ(issuers.of(0, 0), 10u);
    EXPECT_EQ(issuers.of(0, 2), 12u);
    EXPECT_EQ(issuers.of(1, 0), 20u);
    EXPECT_EQ(issuers.of(1, 2), 22u);
    EXPECT_TRUE(issuers.hold(1, 3));
    EXPECT_FALSE(issuers.hold(3, 3));
    EXPECT_FALSE(issuers.hold(2, 4));
}

TEST(Issuers, either_work_here_or_say_what_is_missing) {
    const Status available = issuers_available();
    const auto issuers = Issuers::attach(2, 3);
    ASSERT_EQ(issuers.has_value(), available.has_value());
    if (issuers) {
        EXPECT_EQ(issuers->of(1, 2), 0u);
    } else {
        EXPECT_EQ(issuers.error().message, available.error().message);
        EXPECT_FALSE(issuers.error().message.empty());
    }
}

TEST_F(OnThisKernel, the_issuer_of_a_request_is_the_cgroup_of_its_process) {
    auto issuers = Issuers::attach(loop_queues, loop_depth);
    ASSERT_TRUE(issuers) << issuers.error().message;
    ASSERT_TRUE(issuers->watch(name()));
    ASSERT_TRUE(alice.reads(disk.path()));
    EXPECT_EQ(slots_of(*issuers, alice.id()), 1u);
    EXPECT_EQ(slots_of(*issuers, bob.id()), 0u);
    for (u32 round = 0; round < loop_depth; ++round) ASSERT_TRUE(bob.reads(disk.path()));
    EXPECT_GT(slots_of(*issuers, bob.id()), 0u);
}

TEST_F(OnThisKernel, nothing_is_noted_of_other_disks) {
    auto issuers = Issuers::attach(loop_queues, loop_depth);
    ASSERT_TRUE(issuers) << issuers.error().message;
    ASSERT_TRUE(alice.reads(disk.path()));
    EXPECT_EQ(slots_of(*issuers, 0), loop_depth) << "before a disk is watched";
    ASSERT_TRUE(issuers->watch(name() + "0"));
    ASSERT_TRUE(alice.reads(disk.path()));
    EXPECT_EQ(slots_of(*issuers, 0), loop_depth) << "a longer name";
}

TEST_F(OnThisKernel, a_request_beyond_the_slots_is_not_noted) {
    auto issuers = Issuers::attach(loop_queues, 1);
    ASSERT_TRUE(issuers) << issuers.error().message;
    ASSERT_TRUE(issuers->watch(name()));
    for (u32 round = 0; round < 8; ++round) ASSERT_TRUE(alice.reads(disk.path()));
    const u64 noted = issuers->of(0, 0);
    EXPECT_TRUE(noted == 0 || noted == alice.id()) << noted;
}

}  // namespace
}  // namespace ringloop::cgroup
