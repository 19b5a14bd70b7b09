#include "base/mountinfo.h"

#include <gtest/gtest.h>

namespace ringloop {
namespace {

TEST(MountTable, is_read_with_its_optional_fields_and_escapes) {
    const auto mounts = parse_mountinfo(
        "30 29 259:0 / /home/ann/my\\040disk rw - ext4 /dev/ublkb0 rw\n"
        "31 22 0:40 /sub /data rw shared:31 master:3 propagate_from:2 - btrfs /dev/ublkb1p2 "
        "rw,space_cache\n");
    ASSERT_EQ(mounts.size(), 2U);
    EXPECT_EQ(mounts[0].mount_point, "/home/ann/my disk");
    EXPECT_EQ(mounts[0].major, 259U);
    EXPECT_EQ(mounts[0].minor, 0U);
    EXPECT_EQ(mounts[0].source, "/dev/ublkb0");
    EXPECT_EQ(mounts[0].root, "/");
    EXPECT_EQ(mounts[1].root, "/sub");
    EXPECT_EQ(mounts[1].type, "btrfs");
    EXPECT_EQ(mounts[1].source, "/dev/ublkb1p2");
    EXPECT_EQ(mounts[1].options, "rw,space_cache");
}

TEST(MountTable, leaves_out_lines_that_are_none) {
    for (const char* text :
         {"", "\n\n", "garbage", "1 2 3 4 5 6", "1 2 x:y / / rw - ext4 a rw",
          "1 2 8:1 / / rw ext4 a rw", "1 2 81 / / rw - ext4 a rw", "1 2 8:1 / / rw - ext4"}) {
        EXPECT_TRUE(parse_mountinfo(text).empty()) << text;
    }
}

TEST(MountTable, keeps_a_backslash_that_escapes_nothing) {
    const auto mounts = parse_mountinfo("1 2 8:1 / /a\\9\\134b\\04 rw - ext4 x rw\n");
    ASSERT_EQ(mounts.size(), 1U);
    EXPECT_EQ(mounts[0].mount_point, "/a\\9\\b\\04");
}

}  // namespace
}  // namespace ringloop
