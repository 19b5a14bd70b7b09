#include "backing/geometry.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace ringloop::backing {
namespace {

constexpr u64 offset_max = static_cast<u64>(std::numeric_limits<i64>::max());

struct Fit {
    u64 image;
    u64 offset;
    u64 sizelimit;
    u32 sector;
    u64 size;  // 0: refused
    u64 cut;
    int error;
    const char* says;
};

constexpr Fit fits[] = {
    // clang-format off
    {1 * mib, 0,    0,       512,  1 * mib, 0,   0, ""},
    {1 * mib, 4096, 0,       512,  1 * mib - 4096, 0, 0, ""},
    {1 * mib, 4096, 8192,    512,  8192,    0,   0, ""},
    // losetup's parity: the tail below a sector is cut, and so is a limit beyond the end.
    {1000,    0,    0,       512,  512,     488, 0, ""},
    {8191,    0,    0,       4096, 4096,    4095, 0, ""},
    {1 * mib, 1000, 0,       512,  1 * mib - 1024, 24, 0, ""},
    {1 * mib, 0,    2 * mib, 512,  1 * mib, 0,   0, ""},
    {1 * mib, 0,    1025,    512,  1024,    1,   0, ""},
    {512,     0,    0,       512,  512,     0,   0, ""},
    {511,     0,    0,       512,  0, 0, EINVAL, "its 511 bytes are less than one sector of 512"},
    {512,     0,    0,       4096, 0, 0, EINVAL, "less than one sector of 4096"},
    {1024,    1000, 0,       512,  0, 0, EINVAL, "its 24 bytes behind offset 1000 are less than"},
    {1 * mib, 0,    511,     512,  0, 0, EINVAL, "sizelimit 511 is less than one sector"},
    {4096,    4096, 0,       512,  0, 0, EINVAL, "offset 4096 is beyond its end (4096 bytes)"},
    {4096,    5000, 0,       512,  0, 0, EINVAL, "offset 5000 is beyond its end (4096 bytes)"},
    {4096,    offset_max, 0, 512,  0, 0, EINVAL, "is beyond its end"},
    {4096,    offset_max + 1, 0, 512, 0, 0, EOVERFLOW, "beyond 2^63-1"},
    {4096,    ~u64{0}, 1,    512,  0, 0, EOVERFLOW, "beyond 2^63-1"},
    {4096,    512, offset_max, 512, 0, 0, EOVERFLOW, "beyond 2^63-1"},
    {4096,    512, offset_max - 512, 512, 3584, 0, 0, ""},
    {4096,    512, ~u64{0},  512,  0, 0, EOVERFLOW, "beyond 2^63-1"},
    // clang-format on
};

TEST(GeometryTest, the_device_is_what_offset_and_sizelimit_leave_in_whole_sectors) {
    for (const Fit& fit : fits) {
        SCOPED_TRACE(fmt::format("image {} offset {} sizelimit {} sector {}", fit.image, fit.offset,
                                 fit.sizelimit, fit.sector));
        const Result<Extent> extent = fit_extent(fit.image, fit.offset, fit.sizelimit, fit.sector);
        ASSERT_EQ(extent.has_value(), fit.size != 0);
        if (extent) {
            EXPECT_EQ(extent->size_bytes, fit.size);
            EXPECT_EQ(extent->bytes_cut, fit.cut);
            continue;
        }
        EXPECT_EQ(extent.error().number, fit.error);
        EXPECT_NE(extent.error().message.find(fit.says), std::string::npos)
            << extent.error().message;
    }
}

Geometry shape_of(const ShapeFacts& facts) {
    Geometry geometry;
    shape(facts, geometry);
    return geometry;
}

ShapeFacts block_device() {
    return {.block_device = true,
            .discard_command = true,
            .limits = {.logical_block_bytes = 512,
                       .physical_block_bytes = 4096,
                       .io_min_bytes = 64 * kib,
                       .io_optimal_bytes = 256 * kib,
                       .discard_granularity_bytes = 1 * mib,
                       .discard_max_bytes = gib,
                       .write_zeroes_max_bytes = 32 * mib,
                       .rotational = true,
                       .found = true}};
}

TEST(GeometryTest, the_blocks_of_a_file_system_show_in_the_device) {
    const Geometry geometry = shape_of({.io_block_bytes = 4096});
    EXPECT_EQ(geometry.sector_size, 512u);
    EXPECT_EQ(geometry.physical_block_size, 4096u);
    EXPECT_EQ(geometry.io_size_min, 4096u);
    EXPECT_EQ(geometry.io_size_optimal, 0u);
}

TEST(GeometryTest, large_blocks_of_a_file_system_are_a_page_at_most) {
    const Geometry geometry = shape_of({.io_block_bytes = 1 * mib, .punch_hole = true});
    EXPECT_EQ(geometry.physical_block_size, 4096u);
    EXPECT_EQ(geometry.discard_granularity, 64 * kib);
}

TEST(GeometryTest, strange_blocks_of_a_file_system_become_a_power_of_two) {
    const Geometry geometry = shape_of({.io_block_bytes = 3000, .punch_hole = true});
    EXPECT_EQ(geometry.physical_block_size, 2048u);
    EXPECT_EQ(geometry.discard_granularity, 2048u);
    EXPECT_EQ(shape_of({.io_block_bytes = 0}).physical_block_size, 512u);
}

TEST(GeometryTest, no_block_is_smaller_than_a_sector) {
    const Geometry geometry =
        shape_of({.sector_size_bytes = 4096, .io_block_bytes = 1024, .punch_hole = true});
    EXPECT_EQ(geometry.physical_block_size, 4096u);
    EXPECT_EQ(geometry.io_size_min, 4096u);
    EXPECT_EQ(geometry.discard_granularity, 4096u);
}

TEST(GeometryTest, blocks_below_do_not_show_where_the_image_does_not_start_on_one) {
    const Geometry file = shape_of({.offset_bytes = 63 * 512, .io_block_bytes = 4096});
    EXPECT_EQ(file.physical_block_size, 512u);
    EXPECT_EQ(file.io_size_min, 512u);
    ShapeFacts facts = block_device();
    facts.offset_bytes = 128 * kib;
    EXPECT_EQ(shape_of(facts).physical_block_size, 4096u);
    EXPECT_EQ(shape_of(facts).io_size_min, 64 * kib);
    EXPECT_EQ(shape_of(facts).io_size_optimal, 128 * kib);
}

TEST(GeometryTest, the_limits_of_a_block_device_show_in_the_device) {
    const Geometry geometry = shape_of(block_device());
    EXPECT_EQ(geometry.physical_block_size, 4096u);
    EXPECT_EQ(geometry.io_size_min, 64 * kib);
    EXPECT_EQ(geometry.io_size_optimal, 256 * kib);
    EXPECT_TRUE(geometry.rotational);
    EXPECT_TRUE(geometry.discard);
    EXPECT_TRUE(geometry.write_zeroes);
    EXPECT_EQ(geometry.discard_granularity, 1 * mib);
}

TEST(GeometryTest, stripes_that_are_no_power_of_two_show_as_the_one_that_divides_them) {
    ShapeFacts facts = block_device();
    facts.limits.io_optimal_bytes = 192 * kib;
    facts.limits.discard_granularity_bytes = 192 * kib;
    EXPECT_EQ(shape_of(facts).io_size_optimal, 64 * kib);
    EXPECT_EQ(shape_of(facts).discard_granularity, 64 * kib);
}

TEST(GeometryTest, a_file_discards_and_zeroes_where_holes_can_be_punched) {
    const Geometry able = shape_of({.io_block_bytes = 4096, .punch_hole = true});
    EXPECT_TRUE(able.discard);
    EXPECT_TRUE(able.write_zeroes);
    EXPECT_EQ(able.discard_granularity, 4096u);
    const Geometry unable = shape_of({.io_block_bytes = 4096});
    EXPECT_FALSE(unable.discard);
    EXPECT_FALSE(unable.write_zeroes);
    EXPECT_EQ(unable.discard_granularity, 0u);
}

TEST(GeometryTest, nothing_is_discarded_or_zeroed_read_only) {
    ShapeFacts facts = block_device();
    facts.read_only = true;
    const Geometry geometry = shape_of(facts);
    EXPECT_TRUE(geometry.read_only);
    EXPECT_FALSE(geometry.discard);
    EXPECT_FALSE(geometry.write_zeroes);
}

TEST(GeometryTest, a_block_device_discards_by_command_or_by_zeroing) {
    ShapeFacts facts = block_device();
    facts.limits.write_zeroes_max_bytes = 0;
    EXPECT_TRUE(shape_of(facts).discard);
    EXPECT_FALSE(shape_of(facts).write_zeroes);
    facts.discard_command = false;
    EXPECT_FALSE(shape_of(facts).discard);
    facts.limits.write_zeroes_max_bytes = 32 * mib;
    facts.limits.discard_max_bytes = 0;
    facts.limits.discard_granularity_bytes = 0;
    EXPECT_TRUE(shape_of(facts).discard);
    EXPECT_EQ(shape_of(facts).discard_granularity, 512u);
}

TEST(GeometryTest, a_block_device_is_not_asked_for_parts_of_its_blocks) {
    ShapeFacts facts = block_device();
    facts.limits.logical_block_bytes = 4096;
    EXPECT_FALSE(shape_of(facts).discard);
    EXPECT_FALSE(shape_of(facts).write_zeroes);
    facts.sector_size_bytes = 4096;
    EXPECT_TRUE(shape_of(facts).discard);
    facts.offset_bytes = 512;
    EXPECT_FALSE(shape_of(facts).discard);
}

}  // namespace
}  // namespace ringloop::backing
