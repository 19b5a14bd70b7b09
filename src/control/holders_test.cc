#include "control/holders.h"

#include <gtest/gtest.h>

namespace ringloop::control {
namespace {

const std::vector<BlockNode> nodes = {{"ublkb0", 259, 0}, {"ublkb0p1", 259, 1}};
using Lines = std::vector<std::string>;

TEST(MountHolders, are_found_by_number_by_source_and_through_partitions) {
    const std::vector<Mount> mounts = {
        {259, 0, "/a", "ext4", "/dev/root"},      // by its number
        {0, 40, "/b", "btrfs", "/dev/ublkb0p1"},  // by its source
        {259, 1, "/c", "xfs", "/dev/ublkb0p1"},
        {259, 2, "/d", "xfs", "/dev/ublkb1"},  // another disk
        {0, 41, "/e", "tmpfs", "ublkb0"},
    };
    EXPECT_EQ(mount_holders(nodes, mounts),
              (Lines{"mounted on /a", "mounted on /b (ublkb0p1)", "mounted on /c (ublkb0p1)"}));
}

TEST(MountHolders, name_a_place_once_however_often_it_is_mounted) {
    const std::vector<Mount> mounts = {{259, 0, "/a", "ext4", "x"}, {259, 0, "/a", "ext4", "x"}};
    EXPECT_EQ(mount_holders(nodes, mounts), Lines{"mounted on /a"});
}

TEST(SwapHolders, are_found_by_the_whole_name) {
    constexpr std::string_view header = "Filename\t\t\t\tType\t\tSize\n";
    EXPECT_EQ(swap_holders(nodes, header), Lines{});
    EXPECT_EQ(swap_holders(nodes, std::string(header) + "/dev/ublkb01 partition\t1\n"), Lines{});
    EXPECT_EQ(swap_holders(nodes, std::string(header) + "/dev/ublkb0p1\tpartition\t1\n"),
              Lines{"in use as swap (ublkb0p1)"});
    EXPECT_EQ(swap_holders(nodes, std::string(header) + "/dev/ublkb0    partition\t1\n"),
              Lines{"in use as swap"});
}

TEST(Holders, of_a_device_that_is_gone_are_none) {
    EXPECT_TRUE(nodes_of("/dev/ublkb999999").empty());
    EXPECT_TRUE(holders_of("/dev/ublkb999999").empty());
}

}  // namespace
}  // namespace ringloop::control
