#include "backing/scrub.h"

#include <gtest/gtest.h>

#include "backing/test_dir.h"

namespace ringloop::backing {
namespace {

constexpr u64 mib = u64{1} << 20;

Image open_or_fail(const std::string& path) {
    Result<Image> image = open_image({.path = path, .read_only = true});
    EXPECT_TRUE(image) << image.error().message;
    return std::move(image).value_or(Image{});
}

void put(const std::string& path, u64 offset, const std::string& text) {
    const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
    ASSERT_EQ(::pwrite(fd.get(), text.data(), text.size(), static_cast<off_t>(offset)),
              static_cast<ssize_t>(text.size()));
}

TEST(Scrub, PassesOverHolesAndReadsTheRest) {
    const TestDir dir;
    const std::string path = dir.sparse("image", 64 * mib);
    put(path, 20 * mib, std::string(mib, 'x'));
    const Image image = open_or_fail(path);
    u64 last = 0;
    const auto found = scrub(image, {0, 64 * mib}, nullptr, 0, [&last](u64 done) {
        EXPECT_GT(done, last);
        last = done;
    });
    ASSERT_TRUE(found) << found.error().message;
    EXPECT_GE(found->read_bytes, mib);
    EXPECT_LE(found->read_bytes, 64 * mib);
    EXPECT_GE(last, 21 * mib);
    EXPECT_EQ(found->unreadable.bytes, 0U);
}

TEST(Scrub, TellsWhereAnotherImageDiffers) {
    const TestDir dir;
    // Neither a multiple of what is read at once, nor of a sector.
    const u64 size = 9 * mib + 700;
    const std::string one = dir.sparse("one", size);
    const std::string two = dir.sparse("two", size + mib);
    put(one, 5000, "differs");
    put(one, 5 * mib - 3, "across");  // two units next to each other
    put(two, mib + size - 1, "!");    // the last byte
    const auto found = scrub(open_or_fail(one), {0, size}, nullptr, 0, {});
    ASSERT_TRUE(found);
    EXPECT_EQ(found->different.bytes, 0U);

    const Image other = open_or_fail(two);
    const auto compared = scrub(open_or_fail(one), {0, size}, &other, mib, {});
    ASSERT_TRUE(compared);
    EXPECT_EQ(compared->read_bytes, size);
    const std::vector<ByteRange> expected = {{4096, 4096}, {5 * mib - 4096, 8192}, {9 * mib, 700}};
    EXPECT_EQ(compared->different.ranges, expected);
    EXPECT_EQ(compared->different.bytes, u64{4096 + 8192 + 700});
    EXPECT_EQ(compared->unreadable.bytes, 0U);
}

TEST(Scrub, WhatCannotBeReadIsToldByTheUnit) {
    const TestDir dir;
    const std::string path = dir.sparse("image", 8 * mib);
    put(path, 0, std::string(8 * mib, 'x'));
    const Image image = open_or_fail(path);
    // Cut short behind our back: what is missing is an error, as on a disk that lost it.
    ASSERT_EQ(::truncate(path.c_str(), static_cast<off_t>(5 * mib + 8192)), 0);
    const Image other = open_or_fail(path);
    const auto found = scrub(image, {0, 8 * mib}, &other, 0, {});
    ASSERT_TRUE(found);
    const std::vector<ByteRange> expected = {{5 * mib + 8192, 3 * mib - 8192}};
    EXPECT_EQ(found->unreadable.ranges, expected);
    EXPECT_EQ(found->unreadable.bytes, 3 * mib - 8192);
}

TEST(Scrub, KeepsSomeRangesAndCountsAll) {
    BadRanges bad;
    for (u64 i = 0; i < 2 * scrub_ranges_max; ++i) add_bad(bad, {i * 8192, 4096});
    EXPECT_EQ(bad.ranges.size(), scrub_ranges_max);
    EXPECT_EQ(bad.bytes, u64{4096} * 2 * scrub_ranges_max);
}

}  // namespace
}  // namespace ringloop::backing
