#include "backing/preallocate.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <vector>

#include "backing/test_dir.h"

namespace ringloop::backing {
namespace {

constexpr u64 mib = u64{1} << 20;

u64 occupied(const std::string& path) {
    struct stat found = {};
    EXPECT_EQ(::stat(path.c_str(), &found), 0);
    return static_cast<u64>(found.st_blocks) * 512;
}

TEST(Preallocate, GivesBlocksToTheRangeAndToNothingElse) {
    const TestDir dir;
    const std::string path = dir.sparse("image", 64 * mib);
    const Result<Image> image = open_image({.path = path});
    ASSERT_TRUE(image) << image.error().message;
    std::vector<u64> told;
    const auto done =
        preallocate(*image, {mib, 8 * mib}, [&told](u64 bytes) { told.push_back(bytes); });
    if (!done && done.error().number == EOPNOTSUPP) GTEST_SKIP() << done.error().message;
    ASSERT_TRUE(done) << done.error().message;
    EXPECT_GE(done->new_bytes, 8 * mib);
    EXPECT_LT(occupied(path), 10 * mib);
    EXPECT_EQ(told, std::vector<u64>{8 * mib});
    EXPECT_EQ(image->size_bytes, *image_bytes(image->fd.get(), path));

    // What has its blocks needs no others.
    const auto again = preallocate(*image, {mib, 8 * mib}, {});
    ASSERT_TRUE(again);
    EXPECT_EQ(again->new_bytes, 0U);
}

TEST(Preallocate, AllocatesNothingWhereThereIsNotEnoughForAll) {
    const TestDir dir;
    // More than any filesystem of these days has, and no more than a file may have.
    const std::string path = dir.sparse("image", u64{1} << 43);
    const Result<Image> image = open_image({.path = path});
    ASSERT_TRUE(image) << image.error().message;
    const auto done = preallocate(*image, {0, image->size_bytes}, {});
    ASSERT_FALSE(done);
    EXPECT_EQ(done.error().number, ENOSPC);
    EXPECT_NE(done.error().message.find("free of 8.0 TiB that are needed"), std::string::npos)
        << done.error().message;
    EXPECT_LT(occupied(path), mib);
}

}  // namespace
}  // namespace ringloop::backing
