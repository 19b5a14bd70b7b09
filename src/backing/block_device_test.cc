#include "backing/block_device.h"

#include <gtest/gtest.h>
#include <sys/sysmacros.h>

#include <fstream>

#include "backing/test_dir.h"

namespace ringloop::backing {
namespace {

// A sysfs with one disk, 8:0, that has a partition, 8:1, laid out as the kernel's.
class FakeSysfs : public testing::Test {
protected:
    void SetUp() override {
        std::filesystem::create_directories(dir.file("devices/sda/queue"));
        std::filesystem::create_directories(dir.file("devices/sda/sda1"));
        std::filesystem::create_directories(dir.file("dev/block"));
        std::filesystem::create_symlink("../../devices/sda", dir.file("dev/block/8:0"));
        std::filesystem::create_symlink("../../devices/sda/sda1", dir.file("dev/block/8:1"));
        std::ofstream(dir.file("devices/sda/sda1/partition")) << "1\n";
        set("logical_block_size", "512");
        set("physical_block_size", "4096");
        set("minimum_io_size", "65536");
        set("optimal_io_size", "1048576");
        set("rotational", "1");
        set("discard_granularity", "4096");
        set("discard_max_bytes", "2199023255040");
        set("write_zeroes_max_bytes", "33554432");
    }
    void set(const char* name, const char* value) {
        std::ofstream(dir.file(std::string("devices/sda/queue/") + name)) << value << "\n";
    }
    QueueLimits read(unsigned int major, unsigned int minor) {
        return read_queue_limits(makedev(major, minor), dir.file(""));
    }
    TestDir dir;
};

TEST_F(FakeSysfs, the_limits_of_a_disk_are_those_of_its_queue) {
    const QueueLimits limits = read(8, 0);
    EXPECT_TRUE(limits.found);
    EXPECT_EQ(limits.logical_block_bytes, 512u);
    EXPECT_EQ(limits.physical_block_bytes, 4096u);
    EXPECT_EQ(limits.io_min_bytes, 65536u);
    EXPECT_EQ(limits.io_optimal_bytes, 1048576u);
    EXPECT_EQ(limits.discard_granularity_bytes, 4096u);
    EXPECT_EQ(limits.discard_max_bytes, 2199023255040u);
    EXPECT_EQ(limits.write_zeroes_max_bytes, 33554432u);
    EXPECT_TRUE(limits.rotational);
}

TEST_F(FakeSysfs, the_limits_of_a_partition_are_those_of_its_disk) {
    const QueueLimits limits = read(8, 1);
    EXPECT_TRUE(limits.found);
    EXPECT_EQ(limits.physical_block_bytes, 4096u);
    EXPECT_TRUE(limits.rotational);
}

TEST_F(FakeSysfs, a_device_without_a_queue_has_no_limits) {
    EXPECT_FALSE(read(0, 42).found);
    EXPECT_FALSE(read(0, 42).rotational);
}

TEST_F(FakeSysfs, a_queue_above_something_that_is_no_partition_is_not_its_own) {
    std::filesystem::remove(dir.file("devices/sda/sda1/partition"));
    EXPECT_FALSE(read(8, 1).found);
}

TEST_F(FakeSysfs, what_is_missing_or_not_a_number_is_not_known) {
    set("minimum_io_size", "many");
    set("optimal_io_size", "99999999999");
    std::filesystem::remove(dir.file("devices/sda/queue/write_zeroes_max_bytes"));
    const QueueLimits limits = read(8, 0);
    EXPECT_EQ(limits.io_min_bytes, 0u);
    EXPECT_EQ(limits.io_optimal_bytes, 0u);
    EXPECT_EQ(limits.write_zeroes_max_bytes, 0u);
}

TEST(KernelRelease, versions_are_compared_as_numbers) {
    EXPECT_TRUE(release_at_least("6.12.1-amd64", 6, 12));
    EXPECT_TRUE(release_at_least("6.12", 6, 12));
    EXPECT_TRUE(release_at_least("6.12-rc1", 6, 12));
    EXPECT_TRUE(release_at_least("6.100.0", 6, 12));
    EXPECT_TRUE(release_at_least("7.0.0", 6, 12));
    EXPECT_FALSE(release_at_least("6.9.12", 6, 12));
    EXPECT_FALSE(release_at_least("6.1.0-13-amd64", 6, 12));
    EXPECT_FALSE(release_at_least("5.19.17", 6, 12));
    EXPECT_FALSE(release_at_least("6", 6, 12));
}

TEST(KernelRelease, what_is_no_version_is_taken_for_an_old_one) {
    EXPECT_FALSE(release_at_least("", 6, 12));
    EXPECT_FALSE(release_at_least("linux", 6, 12));
}

}  // namespace
}  // namespace ringloop::backing
