#include "control/mounts.h"

#include <gtest/gtest.h>

namespace ringloop::control {
namespace {

// A desktop: a disk of the person below /run/media, and a mount of our own device.
constexpr std::string_view table =
    "22 1 8:2 / / rw,relatime shared:1 - ext4 /dev/sda2 rw\n"
    "23 22 0:21 / /proc rw shared:12 - proc proc rw\n"
    "24 22 0:22 / /sys rw shared:2 - sysfs sysfs rw\n"
    "25 24 0:30 / /sys/fs/cgroup rw shared:9 - cgroup2 cgroup2 rw\n"
    "26 22 0:5 / /dev rw shared:8 - devtmpfs udev rw\n"
    "27 22 0:25 / /run rw shared:5 - tmpfs tmpfs rw\n"
    "28 27 8:17 / /run/media/ann/stick rw shared:77 - vfat /dev/sdb1 rw\n"
    "29 22 8:3 / /home rw shared:30 - ext4 /dev/sda3 rw\n"
    "30 29 259:0 / /home/ann/my\\040disk rw - ext4 /dev/ublkb0 rw\n"
    "31 22 0:40 /sub /data rw shared:31 master:3 propagate_from:2 - btrfs /dev/ublkb1p2 rw\n"
    "32 22 0:41 / /devices rw - tmpfs none rw\n"
    "33 22 8:2 /var/dev /dev/kept rw - ext4 /dev/sda2 rw\n";

TEST(MountsToDetach, are_all_but_the_root_and_the_systems_virtual_ones_innermost_first) {
    EXPECT_EQ(mounts_to_detach(parse_mountinfo(table)),
              (std::vector<std::string>{"/dev/kept", "/devices", "/data", "/home/ann/my disk",
                                        "/home", "/run/media/ann/stick"}));
}

}  // namespace
}  // namespace ringloop::control
