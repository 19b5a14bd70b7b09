#include "backing/direct_io.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "backing/test_dir.h"

namespace ringloop::backing {
namespace {

enum class Below { file, block_device, nothing };

struct Rule {
    DirectIo mode;
    u64 offset;
    u32 asked;  // sector size, 0: none
    Below below;
    u32 alignment;  // reported
    bool direct;
    u32 sector_size;     // 0: refused
    const char* reason;  // part of the reason or of the error
};

constexpr DirectIo automatic = DirectIo::automatic;
constexpr DirectIo on = DirectIo::on;
constexpr DirectIo off = DirectIo::off;
constexpr const char* none = "no direct I/O at all";

// The kernel driver's rule (lo_can_use_dio), with an error where it is demanded and impossible.
constexpr Rule rules[] = {
    // clang-format off
    // A file on a disk of 512-byte blocks.
    {automatic, 0,    0,    Below::file, 512,  true,  512,  ""},
    {automatic, 512,  0,    Below::file, 512,  true,  512,  ""},
    {automatic, 1000, 0,    Below::file, 512,  false, 512,  "offset 1000 is not a multiple of 512"},
    {automatic, 4096, 0,    Below::file, 512,  true,  512,  ""},
    {automatic, 0,    4096, Below::file, 512,  true,  4096, ""},
    {automatic, 512,  4096, Below::file, 512,  true,  4096, ""},
    {automatic, 1000, 4096, Below::file, 512,  false, 4096, "offset 1000"},
    {on,        0,    0,    Below::file, 512,  true,  512,  ""},
    {on,        512,  4096, Below::file, 512,  true,  4096, ""},
    {on,        1000, 0,    Below::file, 512,  false, 0,    "use a multiple or --direct-io=auto"},
    // A file on a disk of 4096-byte blocks: sectors stay at 512 unless direct I/O is demanded.
    {automatic, 0,    0,    Below::file, 4096, false, 512,  "needs sectors of 4096 bytes, not 512"},
    {automatic, 0,    512,  Below::file, 4096, false, 512,  "needs sectors of 4096 bytes, not 512"},
    {automatic, 0,    4096, Below::file, 4096, true,  4096, ""},
    {automatic, 512,  4096, Below::file, 4096, false, 4096, "offset 512 is not a multiple of 4096"},
    {automatic, 4096, 4096, Below::file, 4096, true,  4096, ""},
    {on,        0,    0,    Below::file, 4096, true,  4096, ""},
    {on,        4096, 0,    Below::file, 4096, true,  4096, ""},
    {on,        0,    512,  Below::file, 4096, false, 0,    "use --sector-size=4096"},
    {on,        512,  0,    Below::file, 4096, false, 0,    "offset 512 is not a multiple of 4096"},
    // A file with finer direct I/O than any sector.
    {automatic, 4,    0,    Below::file, 4,    true,  512,  ""},
    {on,        0,    0,    Below::file, 4,    true,  512,  ""},
    // A block device's contents are laid out in its blocks: they show when that makes it direct.
    {automatic, 0,    0,    Below::block_device, 512,  true,  512,  ""},
    {automatic, 0,    0,    Below::block_device, 4096, true,  4096, ""},
    {automatic, 512,  0,    Below::block_device, 4096, false, 512,  "offset 512"},
    {automatic, 0,    512,  Below::block_device, 4096, false, 512,  "sectors of 4096 bytes"},
    {off,       0,    0,    Below::block_device, 4096, false, 512,  "--direct-io=off"},
    {on,        0,    0,    Below::block_device, 4096, true,  4096, ""},
    // Larger than any sector.
    {automatic, 0,    0,    Below::file, 16384, false, 512, "4096 is the most possible"},
    {automatic, 0,    0,    Below::block_device, 16384, false, 512, "4096 is the most possible"},
    {on,        0,    0,    Below::file, 16384, false, 0,   "use --direct-io=auto"},
    // No direct I/O below (squashfs, 9p): buffered, or an error.
    {automatic, 0,    0,    Below::nothing, 0, false, 512,  none},
    {automatic, 1000, 4096, Below::nothing, 0, false, 4096, none},
    {on,        0,    0,    Below::nothing, 0, false, 0,    "at all; use --direct-io=auto"},
    // Not wanted.
    {off,       0,    0,    Below::file, 512,  false, 512,  "--direct-io=off"},
    {off,       1000, 2048, Below::file, 512,  false, 2048, "--direct-io=off"},
    // Sector sizes.
    {automatic, 0,    1024, Below::file, 512,  true,  1024, ""},
    {automatic, 0,    1000, Below::file, 512,  false, 0,    "use 512, 1024, 2048 or 4096"},
    {off,       0,    1000, Below::file, 512,  false, 0,    "sector size 1000 is not possible"},
    {automatic, 0,    256,  Below::file, 512,  false, 0,    "sector size 256"},
    {automatic, 0,    8192, Below::file, 512,  false, 0,    "sector size 8192"},
    // clang-format on
};

TEST(DirectIoTest, the_rule_is_that_of_the_kernels_driver_with_an_error_where_it_is_demanded) {
    for (const Rule& rule : rules) {
        SCOPED_TRACE(fmt::format("mode {} offset {} asked {} below {} alignment {}",
                                 static_cast<int>(rule.mode), rule.offset, rule.asked,
                                 static_cast<int>(rule.below), rule.alignment));
        DirectFacts facts = {.mode = rule.mode,
                             .offset_bytes = rule.offset,
                             .sector_size_bytes = rule.asked,
                             .block_device = rule.below == Below::block_device,
                             .support = {rule.alignment, 4, rule.alignment == 0 ? none : ""}};
        const Result<DirectDecision> decision = decide_direct(facts);
        ASSERT_EQ(decision.has_value(), rule.sector_size != 0);
        const std::string& said = decision ? decision->reason : decision.error().message;
        EXPECT_NE(said.find(rule.reason), std::string::npos) << said;
        if (!decision) {
            EXPECT_EQ(decision.error().number, EINVAL);
            continue;
        }
        EXPECT_EQ(decision->direct, rule.direct);
        EXPECT_EQ(decision->sector_size_bytes, rule.sector_size);
        EXPECT_EQ(decision->reason.empty(), rule.direct);
    }
}

TEST(DirectIoTest, what_a_disk_file_needs_is_enough_for_a_direct_read) {
    const TestDir dir;
    const Result<Image> image = open_image({.path = dir.sparse("disk.img", 64 * kib)});
    ASSERT_TRUE(image) << image.error().message;
    const DirectSupport support = probe_direct(*image, 4096);
    if (support.offset_alignment_bytes == 0) GTEST_SKIP() << dir.file("") << support.obstacle;
    EXPECT_TRUE(is_power_of_two(support.memory_alignment_bytes));
    const UniqueFd fd = reopen(image->fd.get(), O_RDONLY | O_DIRECT);
    void* buffer = nullptr;
    const std::size_t alignment = std::max(support.memory_alignment_bytes, 8u);
    ASSERT_EQ(posix_memalign(&buffer, alignment, support.offset_alignment_bytes), 0);
    EXPECT_EQ(
        pread(fd.get(), buffer, support.offset_alignment_bytes, support.offset_alignment_bytes),
        support.offset_alignment_bytes);
    free(buffer);
}

TEST(DirectIoTest, probing_leaves_the_flags_of_the_image_alone) {
    const TestDir dir;
    const Result<Image> image = open_image({.path = dir.sparse("disk.img", 4096)});
    ASSERT_TRUE(image);
    probe_direct(*image, 0);
    EXPECT_EQ(fcntl(image->fd.get(), F_GETFL) & O_DIRECT, 0);
}

TEST(DirectIoTest, an_unaligned_offset_is_no_reason_to_call_the_file_unable) {
    const TestDir dir;
    const Result<Image> image = open_image({.path = dir.sparse("disk.img", 64 * kib)});
    ASSERT_TRUE(image);
    EXPECT_EQ(probe_direct(*image, 1000).offset_alignment_bytes,
              probe_direct(*image, 0).offset_alignment_bytes);
}

// overlayfs and 9p refuse the read with EINVAL; so does any file at an offset above 2^63.
TEST(DirectIoTest, a_file_that_opens_direct_and_refuses_to_be_read_so_is_buffered) {
    for (const std::string& parent : {TestDir::on_disk(), std::string("/dev/shm")}) {
        if (access(parent.c_str(), W_OK) != 0) continue;
        const TestDir dir(parent);
        const Result<Image> image = open_image({.path = dir.sparse("disk.img", 4096)});
        ASSERT_TRUE(image);
        if (probe_direct(*image, 0).offset_alignment_bytes == 0) continue;
        const DirectSupport support = probe_direct(*image, u64{1} << 63);
        EXPECT_EQ(support.offset_alignment_bytes, 0u);
        EXPECT_EQ(support.obstacle,
                  "the file system accepts O_DIRECT but a direct read fails: Invalid argument");
    }
}

// procfs refuses O_DIRECT at open, as squashfs and old tmpfs do.
TEST(DirectIoTest, a_file_system_without_direct_io_says_so) {
    Image image;
    image.fd = UniqueFd(open("/proc/version", O_RDONLY | O_CLOEXEC));
    ASSERT_TRUE(image.fd);
    image.read_only = true;
    const DirectSupport support = probe_direct(image, 0);
    EXPECT_EQ(support.offset_alignment_bytes, 0u);
    EXPECT_EQ(support.obstacle, "the file system has no direct I/O");
}

}  // namespace
}  // namespace ringloop::backing
