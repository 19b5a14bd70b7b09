#include "backing/backing.h"

#include <gtest/gtest.h>
#include <linux/falloc.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>

#include "backing/test_backing.h"

namespace ringloop::backing {
namespace {

using Code = io::Operation::Code;
using Kind = Access::Kind;

constexpr i32 punch_hole = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
constexpr i32 zero_range = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;

class OnDisk : public testing::Test {
protected:
    Options options(u64 bytes = 1 * mib) { return {.path = dir.sparse("disk.img", bytes)}; }
    TestDir dir;
};

// Tests of what happens when direct I/O is there.
class OnDirectDisk : public OnDisk {
protected:
    void SetUp() override {
        opened = open_for_test(options());
        ASSERT_NE(opened, nullptr);
        if (!opened->geometry().direct) {
            GTEST_SKIP() << "no direct I/O in " << dir.file("") << ": "
                         << opened->geometry().direct_reason;
        }
    }
    io::Operation write_of(Kind kind, ByteRange range = {0, 4096}) {
        vector = {page.bytes.data(), range.length};
        return opened->operation(
            {.kind = kind, .range = range, .vectors = &vector, .vector_count = 1});
    }
    Page page;
    iovec vector{};
    std::unique_ptr<Opened> opened;
};

TEST_F(OnDisk, the_geometry_of_a_file) {
    const auto opened = open_for_test(options(1 * mib + 700));
    ASSERT_NE(opened, nullptr);
    EXPECT_EQ(opened->geometry().size, 1 * mib + 512);
    EXPECT_EQ(opened->geometry().bytes_cut, 188u);
    EXPECT_EQ(opened->geometry().sector_size, 512u);
    EXPECT_FALSE(opened->geometry().read_only);
    EXPECT_EQ(opened->geometry().direct, opened->geometry().direct_reason.empty());
    EXPECT_EQ(opened->backing->path(), std::filesystem::canonical(dir.file("disk.img")));
}

TEST_F(OnDisk, a_byte_granular_device_shows_every_byte) {
    Options wanted = options(1 * mib + 700);
    wanted.byte_granular = true;
    const auto opened = open_for_test(wanted);
    ASSERT_NE(opened, nullptr);
    EXPECT_EQ(opened->geometry().size, 1 * mib + 700);
    EXPECT_EQ(opened->geometry().request_alignment, 1u);
    EXPECT_EQ(opened->geometry().deallocate_alignment, 1u);
    EXPECT_FALSE(opened->geometry().direct);
}

TEST_F(OnDisk, extents_tell_data_from_holes_within_the_device) {
    Options wanted = options(1 * mib);
    wanted.offset_bytes = 64 * kib;
    const UniqueFd fd(::open(wanted.path.c_str(), O_WRONLY | O_CLOEXEC));
    const std::string data(64 * kib, 'x');
    ASSERT_EQ(::pwrite(fd.get(), data.data(), data.size(), 128 * kib), 64 * kib);
    const auto opened = open_for_test(wanted);
    ASSERT_NE(opened, nullptr);
    const Backing& backing = *opened->backing;
    EXPECT_TRUE(backing.extent_at(0).hole);
    EXPECT_EQ(backing.extent_at(0).length, 64 * kib);
    EXPECT_FALSE(backing.extent_at(64 * kib).hole);
    EXPECT_EQ(backing.extent_at(65 * kib).length, 63 * kib);
    EXPECT_TRUE(backing.extent_at(128 * kib).hole);
    EXPECT_EQ(backing.extent_at(128 * kib).length, 1 * mib - 192 * kib);
}

TEST_F(OnDisk, a_second_measure_keeps_offset_and_sizelimit) {
    Options wanted = options(1 * mib);
    wanted.offset_bytes = 64 * kib;
    wanted.sizelimit_bytes = 2 * mib;
    const auto opened = open_for_test(wanted);
    ASSERT_NE(opened, nullptr);
    const Backing& backing = *opened->backing;
    ASSERT_EQ(backing.measure_again()->size_bytes, 1 * mib - 64 * kib);
    ASSERT_EQ(::truncate(wanted.path.c_str(), 1 * mib + 700), 0);
    EXPECT_EQ(backing.measure_again()->size_bytes, 1 * mib - 64 * kib + 512);
    EXPECT_EQ(backing.measure_again()->bytes_cut, 188u);
    ASSERT_EQ(::truncate(wanted.path.c_str(), 8 * mib), 0);
    EXPECT_EQ(backing.measure_again()->size_bytes, 2 * mib);
    EXPECT_EQ(backing.size_now(), 1 * mib - 64 * kib) << "measuring changed it";
}

TEST_F(OnDisk, an_image_that_became_too_small_is_named) {
    Options wanted = options(1 * mib);
    wanted.offset_bytes = 64 * kib;
    const auto opened = open_for_test(wanted);
    ASSERT_NE(opened, nullptr);
    for (const u64 bytes : {64 * kib, 64 * kib + 100, u64{0}}) {
        ASSERT_EQ(::truncate(wanted.path.c_str(), static_cast<off_t>(bytes)), 0);
        const auto measured = opened->backing->measure_again();
        ASSERT_FALSE(measured.has_value()) << bytes;
        EXPECT_NE(measured.error().message.find("disk.img: "), std::string::npos);
    }
}

TEST_F(OnDisk, a_resized_device_has_its_new_end) {
    const Options wanted = options(1 * mib);
    const auto opened = open_for_test(wanted);
    ASSERT_NE(opened, nullptr);
    ASSERT_EQ(::truncate(wanted.path.c_str(), 2 * mib), 0);
    opened->backing->resize(2 * mib);
    EXPECT_EQ(opened->backing->size_now(), 2 * mib);
    EXPECT_EQ(opened->backing->extent_at(1 * mib).length, 1 * mib);
    EXPECT_EQ(opened->operation(Kind::prefetch, {2 * mib - 4096, 4096}).offset, 2 * mib - 4096);
    // Somebody who was told a larger size may still ask.
    opened->backing->resize(1 * mib);
    EXPECT_FALSE(opened->backing->extent_at(1 * mib).hole);
    EXPECT_GE(opened->backing->extent_at(1 * mib).length, 1u);
}

TEST_F(OnDisk, every_error_names_the_file_and_leaves_no_descriptor_behind) {
    const auto descriptors = [] {
        const std::filesystem::directory_iterator entries("/proc/self/fd");
        return std::distance(begin(entries), end(entries));
    };
    const Options good = options(64 * kib);
    const auto before = descriptors();
    for (const Options& bad : {
             Options{.path = good.path, .offset_bytes = 64 * kib},
             Options{.path = good.path, .sizelimit_bytes = 511},
             Options{.path = good.path, .offset_bytes = 1, .sizelimit_bytes = ~u64{0}},
             Options{.path = good.path, .sector_size_bytes = 1000},
             Options{.path = good.path, .offset_bytes = 1000, .direct_io = DirectIo::on},
         }) {
        const std::string error = error_of(bad);
        EXPECT_TRUE(error.starts_with(good.path + ": ")) << error;
        EXPECT_EQ(error.find('\n'), std::string::npos);
    }
    EXPECT_EQ(descriptors(), before);
}

TEST_F(OnDirectDisk, an_aligned_image_is_direct_by_default) {
    EXPECT_TRUE(opened->backing->direct_now());
    EXPECT_TRUE(opened->backing->durable_writes());
    EXPECT_NE(fcntl(opened->handle.direct_fd.get(), F_GETFL) & O_DIRECT, 0);
    EXPECT_EQ(fcntl(opened->handle.buffered_fd.get(), F_GETFL) & O_DIRECT, 0);
}

TEST_F(OnDisk, an_unaligned_offset_is_buffered_and_the_reason_visible) {
    Options odd = options();
    odd.offset_bytes = 1001;
    const auto opened = open_for_test(odd);
    ASSERT_NE(opened, nullptr);
    EXPECT_FALSE(opened->geometry().direct);
    EXPECT_FALSE(opened->geometry().direct_reason.empty());
    EXPECT_FALSE(opened->handle.direct_fd);
    EXPECT_EQ(opened->operation(Kind::sync, {}).file, opened->handle.buffered);
}

TEST_F(OnDisk, direct_io_off_is_its_own_reason) {
    Options off = options();
    off.direct_io = DirectIo::off;
    const auto opened = open_for_test(off);
    ASSERT_NE(opened, nullptr);
    EXPECT_EQ(opened->geometry().direct_reason, "--direct-io=off");
    EXPECT_FALSE(opened->backing->durable_writes());
}

TEST_F(OnDisk, every_shard_has_descriptions_of_its_own) {
    const auto opened = open_for_test(options());
    ASSERT_NE(opened, nullptr);
    const Result<Handle> second = opened->backing->open_handle(opened->kernel);
    ASSERT_TRUE(second);
    // The file position is the description's: moving it in one shows whether they share it.
    ASSERT_EQ(lseek(second->buffered_fd.get(), 4096, SEEK_SET), 4096);
    EXPECT_EQ(lseek(opened->handle.buffered_fd.get(), 0, SEEK_CUR), 0);
}

TEST_F(OnDisk, a_read_only_image_neither_writes_nor_discards) {
    Options read_only = options();
    read_only.read_only = true;
    const auto opened = open_for_test(read_only);
    ASSERT_NE(opened, nullptr);
    EXPECT_TRUE(opened->geometry().read_only);
    EXPECT_FALSE(opened->geometry().discard);
    EXPECT_FALSE(opened->geometry().write_zeroes);
    EXPECT_EQ(fcntl(opened->handle.buffered_fd.get(), F_GETFL) & O_ACCMODE, O_RDONLY);
    EXPECT_TRUE(opened->backing->sync());
    if (opened->handle.direct_fd) {
        EXPECT_EQ(fcntl(opened->handle.direct_fd.get(), F_GETFL) & O_ACCMODE, O_RDONLY);
    }
}

TEST_F(OnDisk, one_vector_becomes_a_plain_read_that_keeps_its_registered_buffer) {
    Options shifted = options();
    shifted.offset_bytes = 8192;
    const auto opened = open_for_test(shifted);
    ASSERT_NE(opened, nullptr);
    Page page;
    iovec vector = page.vector();
    const io::Operation read = opened->operation({.kind = Kind::read,
                                                  .range = {4096, 4096},
                                                  .vectors = &vector,
                                                  .vector_count = 1,
                                                  .fixed_buffer = 3});
    EXPECT_EQ(read.code, Code::read);
    EXPECT_EQ(read.offset, 8192u + 4096u);
    EXPECT_EQ(read.length, 4096u);
    EXPECT_EQ(read.data, page.bytes.data());
    EXPECT_EQ(read.fixed_buffer, 3);
    EXPECT_EQ(read.rw_flags, 0u);
}

TEST_F(OnDisk, several_vectors_become_a_vectored_write) {
    const auto opened = open_for_test(options());
    ASSERT_NE(opened, nullptr);
    Page pages[2];
    iovec vectors[2] = {pages[0].vector(), pages[1].vector()};
    const io::Operation write = opened->operation(
        {.kind = Kind::write, .range = {0, 8192}, .vectors = vectors, .vector_count = 2});
    EXPECT_EQ(write.code, Code::writev);
    EXPECT_EQ(write.vectors, vectors);
    EXPECT_EQ(write.vector_count, 2u);
    EXPECT_EQ(write.length, 8192u);
    EXPECT_EQ(write.fixed_buffer, -1);
}

TEST_F(OnDisk, what_is_written_is_read_back_and_stands_at_the_offset_of_the_image) {
    for (const DirectIo mode : {DirectIo::automatic, DirectIo::off}) {
        Options shifted = options();
        shifted.offset_bytes = 8192;
        shifted.direct_io = mode;
        const auto opened = open_for_test(shifted);
        ASSERT_NE(opened, nullptr);
        Page out(0x5a), in;
        iovec vector = out.vector();
        Access access = {
            .kind = Kind::write, .range = {4096, 4096}, .vectors = &vector, .vector_count = 1};
        ASSERT_EQ(perform(opened->operation(access)), 4096);
        ASSERT_EQ(perform(opened->operation(Kind::sync, {})), 0);
        vector = in.vector();
        access.kind = Kind::read;
        ASSERT_EQ(perform(opened->operation(access)), 4096);
        EXPECT_EQ(in.bytes, out.bytes);

        Page raw;
        const UniqueFd fd(::open(shifted.path.c_str(), O_RDONLY | O_CLOEXEC));
        ASSERT_EQ(pread(fd.get(), raw.bytes.data(), 4096, 8192 + 4096), 4096);
        EXPECT_EQ(raw.bytes, out.bytes);
        EXPECT_TRUE(opened->backing->sync());
    }
}

TEST_F(OnDirectDisk, a_durable_write_is_a_direct_one_with_dsync) {
    const io::Operation write = write_of(Kind::write_durable);
    EXPECT_EQ(write.file, opened->handle.direct);
    EXPECT_EQ(write.rw_flags, static_cast<u32>(RWF_DSYNC));
    EXPECT_EQ(perform(write), 4096);
}

TEST_F(OnDirectDisk, a_sync_goes_to_the_buffered_file_even_while_writes_are_direct) {
    const io::Operation sync = opened->operation(Kind::sync, {});
    EXPECT_EQ(sync.code, Code::fdatasync);
    EXPECT_EQ(sync.file, opened->handle.buffered);
}

TEST_F(OnDirectDisk, the_unaligned_rest_of_a_short_transfer_goes_buffered_alone) {
    EXPECT_EQ(write_of(Kind::write, {100, 3996}).file, opened->handle.buffered);
    EXPECT_EQ(write_of(Kind::write, {100, 4096}).file, opened->handle.buffered);
    EXPECT_EQ(write_of(Kind::write, {0, 100}).file, opened->handle.buffered);
    EXPECT_EQ(write_of(Kind::write, {0, 4096}).file, opened->handle.direct);
}

TEST_F(OnDirectDisk, a_refused_direct_operation_makes_everything_buffered) {
    const io::Operation refused = write_of(Kind::write);
    ASSERT_EQ(refused.file, opened->handle.direct);
    EXPECT_TRUE(opened->backing->fall_back_to_buffered(opened->handle, refused));
    EXPECT_FALSE(opened->backing->direct_now());
    EXPECT_FALSE(opened->backing->durable_writes());
    EXPECT_EQ(write_of(Kind::write).file, opened->handle.buffered);
    EXPECT_EQ(perform(write_of(Kind::write)), 4096);
}

TEST_F(OnDirectDisk, a_direct_operation_refused_after_another_shard_switched_is_tried_again) {
    const io::Operation first = write_of(Kind::write);
    const io::Operation second = write_of(Kind::read);
    EXPECT_TRUE(opened->backing->fall_back_to_buffered(opened->handle, first));
    EXPECT_TRUE(opened->backing->fall_back_to_buffered(opened->handle, second));
}

TEST_F(OnDirectDisk, a_refused_buffered_operation_is_final) {
    const io::Operation rest = write_of(Kind::write, {100, 3996});
    EXPECT_FALSE(opened->backing->fall_back_to_buffered(opened->handle, rest));
    EXPECT_TRUE(opened->backing->direct_now());
    EXPECT_TRUE(opened->backing->fall_back_to_buffered(opened->handle, write_of(Kind::write)));
    EXPECT_FALSE(opened->backing->fall_back_to_buffered(opened->handle, write_of(Kind::write)));
}

TEST_F(OnDirectDisk, a_refused_operation_without_data_does_not_make_anything_buffered) {
    EXPECT_FALSE(opened->backing->fall_back_to_buffered(opened->handle,
                                                        opened->operation(Kind::zero_unmap)));
    EXPECT_FALSE(
        opened->backing->fall_back_to_buffered(opened->handle, opened->operation(Kind::sync, {})));
    EXPECT_TRUE(opened->backing->direct_now());
}

TEST_F(OnDirectDisk, a_durable_write_caught_by_the_switch_never_syncs_through_the_buffered_file) {
    ASSERT_TRUE(opened->backing->fall_back_to_buffered(opened->handle, write_of(Kind::write)));
    const io::Operation late = write_of(Kind::write_durable);
    EXPECT_EQ(late.file, opened->handle.direct);
    EXPECT_TRUE(opened->backing->fall_back_to_buffered(opened->handle, late));
}

TEST_F(OnDisk, a_discard_of_a_file_punches_a_hole) {
    const auto opened = open_for_test(options());
    ASSERT_NE(opened, nullptr);
    if (!opened->geometry().discard) GTEST_SKIP() << "no holes in " << dir.file("");
    const io::Operation discard = opened->operation(Kind::discard, {8192, 4096});
    EXPECT_EQ(discard.code, Code::fallocate);
    EXPECT_EQ(discard.mode, punch_hole);
    EXPECT_EQ(discard.offset, 8192u);
    EXPECT_EQ(discard.length, 4096u);
    EXPECT_GE(opened->geometry().discard_granularity, 512u);
}

TEST_F(OnDisk, zeroes_read_back_and_blocks_are_given_back_only_when_that_is_allowed) {
    const auto opened = open_for_test(options());
    ASSERT_NE(opened, nullptr);
    if (!opened->geometry().write_zeroes) GTEST_SKIP() << "no holes in " << dir.file("");
    for (const Kind kind : {Kind::zero_keep, Kind::zero_unmap}) {
        Page out(0x77), in(0x77);
        iovec vector = out.vector();
        Access access = {
            .kind = Kind::write, .range = {0, 4096}, .vectors = &vector, .vector_count = 1};
        ASSERT_EQ(perform(opened->operation(access)), 4096);
        ASSERT_TRUE(opened->backing->sync());
        const io::Operation zero = opened->operation(kind);
        EXPECT_EQ(zero.mode, kind == Kind::zero_keep ? zero_range : punch_hole);
        const i64 result = perform(zero);
        if (result == -EOPNOTSUPP) continue;
        ASSERT_EQ(result, 0);
        struct stat found = {};
        ASSERT_EQ(stat(dir.file("disk.img").c_str(), &found), 0);
        EXPECT_EQ(found.st_blocks > 0, kind == Kind::zero_keep);
        EXPECT_EQ(static_cast<u64>(found.st_size), 1 * mib);
        vector = in.vector();
        access.kind = Kind::read;
        ASSERT_EQ(perform(opened->operation(access)), 4096);
        EXPECT_EQ(in.bytes, Page().bytes);
    }
}

TEST_F(OnDisk, probing_for_holes_changes_neither_size_nor_blocks) {
    const Options here = options(1 * mib + 700);
    struct stat before = {}, after = {};
    ASSERT_EQ(stat(here.path.c_str(), &before), 0);
    ASSERT_NE(open_for_test(here), nullptr);
    ASSERT_EQ(stat(here.path.c_str(), &after), 0);
    EXPECT_EQ(after.st_size, before.st_size);
    EXPECT_EQ(after.st_blocks, before.st_blocks);
}

TEST_F(OnDisk, a_zeroing_that_is_not_supported_is_not_tried_again_but_the_other_way_is) {
    const auto opened = open_for_test(options());
    ASSERT_NE(opened, nullptr);
    if (!opened->geometry().write_zeroes) GTEST_SKIP() << "no holes in " << dir.file("");
    const Backing& backing = *opened->backing;

    // Keeping has one way: then the engine writes zeroes.
    EXPECT_FALSE(backing.note_unsupported(Kind::zero_keep, opened->operation(Kind::zero_keep)));
    EXPECT_FALSE(backing.zero_supported(Kind::zero_keep));
    EXPECT_TRUE(backing.zero_supported(Kind::zero_unmap));
    EXPECT_TRUE(backing.zero_supported(Kind::discard));

    EXPECT_FALSE(backing.note_unsupported(Kind::zero_unmap, opened->operation(Kind::zero_unmap)));
    EXPECT_FALSE(backing.zero_supported(Kind::zero_unmap));
    EXPECT_FALSE(backing.zero_supported(Kind::discard));
}

TEST_F(OnDisk, unmapping_zeroes_may_keep_the_blocks_where_holes_are_refused) {
    const auto opened = open_for_test(options());
    ASSERT_NE(opened, nullptr);
    if (!opened->geometry().write_zeroes) GTEST_SKIP() << "no holes in " << dir.file("");
    const io::Operation refused = opened->operation(Kind::zero_unmap);
    EXPECT_TRUE(opened->backing->note_unsupported(Kind::zero_unmap, refused));
    EXPECT_EQ(opened->operation(Kind::zero_unmap).mode, zero_range);
    // A second shard whose attempt was under way meanwhile is told the same.
    EXPECT_TRUE(opened->backing->note_unsupported(Kind::zero_unmap, refused));
    EXPECT_FALSE(opened->backing->zero_supported(Kind::discard));
}

TEST(OnTmpfs, an_image_in_memory_works_with_whatever_the_kernel_offers) {
    if (access("/dev/shm", W_OK) != 0) GTEST_SKIP() << "/dev/shm cannot be written";
    const TestDir dir("/dev/shm");
    const auto opened = open_for_test({.path = dir.sparse("disk.img", 1 * mib)});
    ASSERT_NE(opened, nullptr);
    EXPECT_FALSE(opened->geometry().rotational);
    Page out(1), in;
    iovec vector = out.vector();
    Access access = {
        .kind = Kind::write, .range = {0, 4096}, .vectors = &vector, .vector_count = 1};
    ASSERT_EQ(perform(opened->operation(access)), 4096);
    vector = in.vector();
    access.kind = Kind::read;
    ASSERT_EQ(perform(opened->operation(access)), 4096);
    EXPECT_EQ(in.bytes, out.bytes);
    // tmpfs punches holes and cannot zero a range: as an attach finds out with the first one.
    ASSERT_EQ(perform(opened->operation(Kind::discard)), 0);
    const io::Operation keep = opened->operation(Kind::zero_keep);
    if (perform(keep) == -EOPNOTSUPP) {
        EXPECT_FALSE(opened->backing->note_unsupported(Kind::zero_keep, keep));
    }
    EXPECT_TRUE(opened->backing->zero_supported(Kind::zero_unmap));
}

}  // namespace
}  // namespace ringloop::backing
