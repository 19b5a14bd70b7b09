#include "backing/filesystem.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <vector>

#include "backing/test_dir.h"

namespace ringloop::backing {
namespace {

TEST(Filesystem, has_the_name_that_people_know) {
    struct Case {
        u64 type;
        const char* name;
    };
    // include/uapi/linux/magic.h, and what zfs uses.
    const Case cases[] = {
        {0xef53, "ext4"},      {0x58465342, "xfs"},       {0x9123683e, "btrfs"},
        {0x01021994, "tmpfs"}, {0x794c7630, "overlayfs"}, {0x73717368, "squashfs"},
        {0x65735546, "fuse"},  {0x01021997, "9p"},        {0x6969, "nfs"},
        {0x2fc12fc1, "zfs"},   {0xca451a4e, "bcachefs"},  {0xf2f52010, "f2fs"}};
    for (const Case& known : cases) EXPECT_EQ(filesystem_name(known.type), known.name);
    EXPECT_EQ(filesystem_name(0x1234abcd), "0x1234abcd");
}

// proc(5): some lines have optional fields before the dash, some have none.
constexpr std::string_view mountinfo =
    "22 28 0:20 / /sys rw,nosuid shared:7 - sysfs sysfs rw\n"
    "28 1 8:1 / / rw,relatime shared:1 master:2 - ext4 /dev/sda1 rw,errors=remount-ro\n"
    "35 28 0:31 /@home /home rw,noatime - btrfs /dev/sdb rw,compress=zstd:3,ssd,space_cache=v2\n"
    "350 28 0:32 / /mnt/a\\040b rw - btrfs /dev/sdc rw,compress-force=lzo\n";

TEST(SuperblockOptions, are_those_of_the_mount_with_this_very_id) {
    EXPECT_EQ(find_superblock(mountinfo, 28).options, "rw,errors=remount-ro");
    EXPECT_EQ(find_superblock(mountinfo, 35).options, "rw,compress=zstd:3,ssd,space_cache=v2");
    EXPECT_EQ(find_superblock(mountinfo, 35).type, "btrfs");
    EXPECT_EQ(find_superblock(mountinfo, 350).options, "rw,compress-force=lzo");
    EXPECT_EQ(find_superblock(mountinfo, 3).options, "");
}

TEST(SuperblockOptions, of_a_table_that_is_none_are_empty) {
    for (const char* text : {"", "\n", "28", "28 ", "28 1 8:1 / / rw", "28 -", "28 - ext4",
                             "28 - ext4 /dev/sda1", "x\n\n"}) {
        EXPECT_EQ(find_superblock(text, 28).options, "") << text;
    }
}

TEST(Compression, is_possible_where_mount_or_file_ask_for_it) {
    struct Case {
        const char* name;
        const char* options;
        u32 flags;
        bool compressing;
    };
    const Case cases[] = {
        {"btrfs", "rw,ssd", 0, false},
        {"btrfs", "", 0, false},
        {"btrfs", "rw,compress=zstd:3", 0, true},
        {"btrfs", "compress", 0, true},
        {"btrfs", "rw,compressed=no", 0, false},  // another word
        {"btrfs", "rw,compress=zlib", FS_NOCOMP_FL, false},
        {"btrfs", "rw,compress-force=zlib", FS_NOCOMP_FL, true},
        {"btrfs", "rw,compress-force=zlib", FS_NOCOW_FL, false},
        {"btrfs", "rw", FS_COMPR_FL, true},
        {"btrfs", "rw", FS_COMPR_FL | FS_NOCOW_FL, false},
        {"f2fs", "rw", FS_COMPR_FL, true},
        {"f2fs", "rw", FS_NOCOW_FL, false},
        {"ext4", "rw,compress=zstd", 0, false},
        {"zfs", "", 0, true},
        {"bcachefs", "", 0, true},
    };
    for (const Case& known : cases) {
        EXPECT_EQ(may_compress(known.name, known.options, known.flags), known.compressing)
            << known.name << " " << known.options << " " << known.flags;
    }
}

TEST(Filesystem, of_an_image_is_the_one_that_it_lies_on) {
    const TestDir dir;
    const auto image = open_image({.path = dir.sparse("disk.img", 1 << 20)});
    ASSERT_TRUE(image) << image.error().message;
    struct statfs found = {};
    ASSERT_EQ(statfs(dir.file("disk.img").c_str(), &found), 0);
    EXPECT_EQ(probe_filesystem(*image).name, filesystem_name(static_cast<u64>(found.f_type)));
}

TEST(Filesystem, tells_a_sparse_image_from_a_written_one) {
    const TestDir dir;
    const auto image = open_image({.path = dir.sparse("disk.img", 1 << 20)});
    ASSERT_TRUE(image) << image.error().message;
    EXPECT_TRUE(probe_filesystem(*image).sparse);
    const std::vector<char> bytes(1 << 20, 'x');
    ASSERT_EQ(pwrite(image->fd.get(), bytes.data(), bytes.size(), 0), ssize_t{1 << 20});
    ASSERT_EQ(fsync(image->fd.get()), 0);
    const Filesystem filesystem = probe_filesystem(*image);
    if (filesystem.compressing)
        GTEST_SKIP() << "the temporary folder is on a filesystem that "
                        "compresses, where sizes tell nothing";
    EXPECT_FALSE(filesystem.sparse);
}

}  // namespace
}  // namespace ringloop::backing
