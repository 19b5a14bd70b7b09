// A block device as the image: the kernel's own loop device over a file, where this may be made.
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>

#include "backing/block_device.h"
#include "backing/test_backing.h"
#include "backing/test_loop_device.h"

namespace ringloop::backing {
namespace {

using Code = io::Operation::Code;
using Kind = Access::Kind;

class OnLoopDevice : public testing::Test {
protected:
    void SetUp() override { attach(512, false); }
    void attach(u32 block_bytes, bool read_only) {
        device.reset();
        device =
            std::make_unique<LoopDevice>(dir.sparse("below.img", 1 * mib), block_bytes, read_only);
        if (!*device) GTEST_SKIP() << "no loop device can be made here (needs root)";
    }
    blkcnt_t blocks_below() const {
        struct stat found = {};
        EXPECT_EQ(stat(dir.file("below.img").c_str(), &found), 0);
        return found.st_blocks;
    }
    TestDir dir;
    std::unique_ptr<LoopDevice> device;
};

class OnLargeBlocks : public OnLoopDevice {
    void SetUp() override { attach(4096, false); }
};

class OnReadOnlyDevice : public OnLoopDevice {
    void SetUp() override { attach(512, true); }
};

TEST_F(OnLoopDevice, a_block_device_has_the_size_and_the_limits_that_the_kernel_reports) {
    const auto opened = open_for_test({.path = device->path()});
    ASSERT_NE(opened, nullptr);
    EXPECT_EQ(opened->geometry().size, 1 * mib);
    EXPECT_EQ(opened->geometry().sector_size, 512u);
    EXPECT_TRUE(opened->geometry().direct) << opened->geometry().direct_reason;
    EXPECT_EQ(opened->backing->path(), device->path());
}

TEST_F(OnLoopDevice, discards_and_zeroes_of_a_block_device_give_its_blocks_back) {
    const auto opened = open_for_test({.path = device->path()});
    ASSERT_NE(opened, nullptr);
    if (!opened->geometry().write_zeroes) GTEST_SKIP() << "this loop device cannot zero";
    for (const Kind kind : {Kind::discard, Kind::zero_unmap, Kind::zero_keep}) {
        SCOPED_TRACE(static_cast<int>(kind));
        Page out(0x33), in(0x33);
        iovec vector = out.vector();
        Access access = {
            .kind = Kind::write, .range = {0, 4096}, .vectors = &vector, .vector_count = 1};
        ASSERT_EQ(perform(opened->operation(access)), 4096);
        ASSERT_TRUE(opened->backing->sync());
        ASSERT_GT(blocks_below(), 0);
        ASSERT_EQ(perform(opened->operation(kind)), 0);
        ASSERT_TRUE(opened->backing->sync());
        if (kind != Kind::zero_keep) {
            EXPECT_EQ(blocks_below(), 0);
        }
        vector = in.vector();
        access.kind = Kind::read;
        ASSERT_EQ(perform(opened->operation(access)), 4096);
        EXPECT_EQ(in.bytes, Page().bytes);
    }
}

TEST_F(OnLoopDevice, a_discard_command_that_the_kernel_refuses_becomes_a_hole) {
    const auto opened = open_for_test({.path = device->path()});
    ASSERT_NE(opened, nullptr);
    if (!opened->geometry().write_zeroes) GTEST_SKIP() << "this loop device cannot zero";
    const io::Operation first = opened->operation(Kind::discard);
    ASSERT_EQ(first.code, kernel_has_discard_command() ? Code::discard : Code::fallocate);
    if (first.code == Code::discard) {
        EXPECT_TRUE(opened->backing->note_unsupported(Kind::discard, first));
    }
    const io::Operation second = opened->operation(Kind::discard);
    EXPECT_EQ(second.code, Code::fallocate);
    EXPECT_FALSE(opened->backing->note_unsupported(Kind::discard, second));
}

TEST_F(OnLargeBlocks, sectors_are_those_of_the_block_device_when_it_is_direct) {
    const auto opened = open_for_test({.path = device->path()});
    ASSERT_NE(opened, nullptr);
    EXPECT_TRUE(opened->geometry().direct) << opened->geometry().direct_reason;
    EXPECT_EQ(opened->geometry().sector_size, 4096u);
    EXPECT_GE(opened->geometry().physical_block_size, 4096u);
}

TEST_F(OnLargeBlocks, smaller_sectors_are_buffered_and_do_not_discard_parts_of_blocks) {
    const auto opened = open_for_test({.path = device->path(), .sector_size_bytes = 512});
    ASSERT_NE(opened, nullptr);
    EXPECT_FALSE(opened->geometry().direct);
    EXPECT_EQ(opened->geometry().direct_reason,
              "direct I/O on this file needs sectors of 4096 bytes, not 512");
    EXPECT_FALSE(opened->geometry().discard);
    EXPECT_FALSE(opened->geometry().write_zeroes);
}

TEST_F(OnLargeBlocks, smaller_sectors_are_refused_when_direct_io_is_demanded) {
    const std::string error =
        error_of({.path = device->path(), .direct_io = DirectIo::on, .sector_size_bytes = 512});
    EXPECT_NE(error.find("use --sector-size=4096"), std::string::npos) << error;
}

TEST_F(OnReadOnlyDevice, a_read_only_block_device_asks_for_read_only) {
    const std::string error = error_of({.path = device->path()});
    EXPECT_NE(error.find("read-only; attach it with --read-only"), std::string::npos) << error;
    EXPECT_TRUE(Backing::open({.path = device->path(), .read_only = true}));
}

TEST(FileOnDisk, rotation_comes_from_the_disk_under_the_file) {
    const TestDir dir;
    const std::string path = dir.sparse("disk.img", 4096);
    struct stat found = {};
    ASSERT_EQ(stat(path.c_str(), &found), 0);
    const auto opened = open_for_test({.path = path});
    ASSERT_NE(opened, nullptr);
    EXPECT_EQ(opened->geometry().rotational, read_queue_limits(found.st_dev).rotational);
}

}  // namespace
}  // namespace ringloop::backing
