#include "frontend/ublk/params.h"

#include <gtest/gtest.h>

namespace ringloop::ublk {
namespace {

namespace wire = abi::ublk;

constexpr u32 io_bytes_max = 512 * 1024;
constexpr u32 page_size = 4096;

backing::Geometry disk() {
    backing::Geometry geometry;
    geometry.size = 1 * gib;
    geometry.discard = true;
    geometry.discard_granularity = 4096;
    geometry.write_zeroes = true;
    return geometry;
}

wire::Params params(const backing::Geometry& geometry) {
    auto made = params_of(geometry, io_bytes_max, page_size);
    EXPECT_TRUE(made.has_value()) << made.error().message;
    return made.value_or(wire::Params{});
}

TEST(UblkParams, SayTheSizeAndTheLargestRequestInSectorsOf512Bytes) {
    backing::Geometry geometry = disk();
    geometry.sector_size = 4096;
    geometry.physical_block_size = 4096;
    const wire::Params made = params(geometry);
    EXPECT_EQ(made.length, sizeof(wire::Params));
    EXPECT_EQ(made.basic.device_sectors, gib / 512);
    EXPECT_EQ(made.basic.sectors_max, io_bytes_max / 512);
}

TEST(UblkParams, SayBlockSizesAsShifts) {
    backing::Geometry geometry = disk();
    EXPECT_EQ(params(geometry).basic.logical_block_shift, 9);
    geometry.physical_block_size = 4096;
    EXPECT_EQ(params(geometry).basic.logical_block_shift, 9);
    EXPECT_EQ(params(geometry).basic.physical_block_shift, 12);
    geometry.sector_size = 4096;
    EXPECT_EQ(params(geometry).basic.logical_block_shift, 12);
}

TEST(UblkParams, KeepTheOrderLogicalPhysicalMinimumOptimal) {
    backing::Geometry geometry = disk();
    geometry.sector_size = 4096;
    geometry.physical_block_size = 512;
    geometry.io_size_min = 512;
    geometry.io_size_optimal = 0;
    const wire::BasicParams basic = params(geometry).basic;
    EXPECT_EQ(basic.physical_block_shift, 12);
    EXPECT_EQ(basic.io_min_shift, 12);
    EXPECT_EQ(basic.io_optimal_shift, 12);
}

TEST(UblkParams, DoNotRoundAStripeThatIsNoPowerOfTwo) {
    backing::Geometry geometry = disk();
    geometry.io_size_min = 64 * 1024;
    geometry.io_size_optimal = 3 * 64 * 1024;
    EXPECT_EQ(params(geometry).basic.io_min_shift, 16);
    EXPECT_EQ(params(geometry).basic.io_optimal_shift, 16);
    geometry.io_size_optimal = 4 * 64 * 1024;
    EXPECT_EQ(params(geometry).basic.io_optimal_shift, 18);
}

TEST(UblkParams, HaveFuaWithTheVolatileCacheAndNeitherOnAReadOnlyDisk) {
    backing::Geometry geometry = disk();
    const u32 cache = wire::attribute_volatile_cache | wire::attribute_fua;
    EXPECT_EQ(params(geometry).basic.attributes, cache);
    geometry.rotational = true;
    EXPECT_EQ(params(geometry).basic.attributes, cache | wire::attribute_rotational);
    geometry.read_only = true;
    EXPECT_EQ(params(geometry).basic.attributes,
              wire::attribute_read_only | wire::attribute_rotational);
}

TEST(UblkParams, OfAReadOnlyDiskHaveNothingThatChangesIt) {
    backing::Geometry geometry = disk();
    geometry.read_only = true;
    EXPECT_EQ(params(geometry).types, wire::params_basic);
}

TEST(UblkParams, OfDiscardAreWholeGranulesInOneSegment) {
    backing::Geometry geometry = disk();
    geometry.discard_granularity = 64 * 1024;
    const wire::Params made = params(geometry);
    EXPECT_EQ(made.types, wire::params_basic | wire::params_discard);
    EXPECT_EQ(made.discard.segments_max, 1);
    EXPECT_EQ(made.discard.granularity, 64u * 1024);
    EXPECT_EQ(u64{made.discard.sectors_max} * 512, 4 * gib - 64 * kib);
    EXPECT_EQ(u64{made.discard.write_zeroes_sectors_max} * 512, 4 * gib - 512);
}

TEST(UblkParams, NeverHaveAGranularityBelowASector) {
    backing::Geometry geometry = disk();
    geometry.sector_size = 4096;
    geometry.discard_granularity = 512;
    EXPECT_EQ(params(geometry).discard.granularity, 4096u);
}

TEST(UblkParams, AdvertiseOnlyWhatTheBackingCanDo) {
    backing::Geometry geometry = disk();
    geometry.write_zeroes = false;
    EXPECT_EQ(params(geometry).discard.write_zeroes_sectors_max, 0u);
    EXPECT_GT(params(geometry).discard.sectors_max, 0u);

    geometry.write_zeroes = true;
    geometry.discard = false;
    geometry.discard_granularity = 0;
    EXPECT_EQ(params(geometry).discard.sectors_max, 0u);
    EXPECT_GT(params(geometry).discard.write_zeroes_sectors_max, 0u);
    // The driver refuses 0 even where there is no discard.
    EXPECT_EQ(params(geometry).discard.granularity, 512u);

    geometry.write_zeroes = false;
    EXPECT_EQ(params(geometry).types, wire::params_basic);
}

TEST(UblkParams, RefuseASectorSizeThatTheDriverCannotHave) {
    for (const u32 sector_size : {0u, 256u, 1000u, 1536u, 8192u}) {
        backing::Geometry geometry = disk();
        geometry.sector_size = sector_size;
        auto made = params_of(geometry, io_bytes_max, page_size);
        ASSERT_FALSE(made.has_value()) << sector_size;
        EXPECT_NE(made.error().message.find(std::to_string(sector_size)), std::string::npos);
    }
    backing::Geometry geometry = disk();
    geometry.sector_size = 8192;
    EXPECT_TRUE(params_of(geometry, io_bytes_max, 65536).has_value());
}

}  // namespace
}  // namespace ringloop::ublk
