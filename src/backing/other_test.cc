// Another image in place of the one that a device has.
#include <gtest/gtest.h>

#include <filesystem>

#include "backing/test_backing.h"

namespace ringloop::backing {
namespace {

class Other : public testing::Test {
protected:
    std::unique_ptr<Backing> open(Options options) {
        auto opened = Backing::open(options);
        if (!opened) ADD_FAILURE() << opened.error().message;
        return opened ? std::move(*opened) : nullptr;
    }
    static std::string refusal(Backing& backing, const Backing::Other& other) {
        const auto opened = backing.open_other(other);
        return opened ? "it was opened" : opened.error().message;
    }
    // What is at the start of the image that `backing` has now.
    static char first_byte(const Backing& backing) {
        char byte = 0;
        EXPECT_EQ(pread(backing.fd(), &byte, 1, 0), 1);
        return byte;
    }
    std::string image(const std::string& name, u64 bytes, char first) {
        const std::string path = dir.sparse(name, bytes);
        const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CLOEXEC));
        EXPECT_EQ(pwrite(fd.get(), &first, 1, 0), 1);
        return path;
    }
    TestDir dir;
};

TEST_F(Other, an_image_takes_the_place_of_another_and_gives_it_back) {
    const auto backing = open({.path = image("a", 1 * mib, 'a')});
    auto next = backing->open_other({.path = image("b", 1 * mib, 'b')});
    ASSERT_TRUE(next) << next.error().message;
    EXPECT_EQ(first_byte(*backing), 'a');
    const std::string a = backing->path();
    backing->exchange(**next);
    EXPECT_EQ(first_byte(*backing), 'b');
    EXPECT_EQ(first_byte(**next), 'a');
    EXPECT_EQ((*next)->path(), a);
    EXPECT_EQ(backing->path(), std::filesystem::canonical(dir.file("b")));
    backing->exchange(**next);
    EXPECT_EQ(backing->path(), a);
}

TEST_F(Other, an_image_that_was_looked_up_needs_no_path_of_its_own) {
    const auto backing = open({.path = image("a", 1 * mib, 'a')});
    const UniqueFd found(::open(image("b", 1 * mib, 'b').c_str(), O_PATH | O_CLOEXEC));
    auto next = backing->open_other({.path = "/elsewhere/b", .looked_up_fd = found.get()});
    ASSERT_TRUE(next) << next.error().message;
    EXPECT_EQ(first_byte(**next), 'b');
    EXPECT_EQ((*next)->path(), "/elsewhere/b");
}

TEST_F(Other, another_size_is_refused_with_both) {
    const auto backing = open({.path = image("a", 1 * mib, 'a')});
    for (const u64 bytes : {1 * mib - 512, 1 * mib + 512}) {
        EXPECT_NE(refusal(*backing, {.path = image("b", bytes, 'b')})
                      .find(fmt::format("b: makes a device of {} bytes, and this one has 1048576",
                                        bytes)),
                  std::string::npos);
    }
    // Less than a sector more is not seen.
    EXPECT_EQ(refusal(*backing, {.path = image("b", 1 * mib + 511, 'b')}), "it was opened");
}

TEST_F(Other, offset_and_sizelimit_are_those_of_the_device) {
    const auto backing =
        open({.path = image("a", 1 * mib, 'a'), .offset_bytes = 4096, .sizelimit_bytes = 8192});
    EXPECT_EQ(refusal(*backing, {.path = image("b", 64 * kib, 'b')}), "it was opened");
    EXPECT_NE(refusal(*backing, {.path = image("c", 8192, 'c')}).find("4096 bytes, and this one"),
              std::string::npos);
}

TEST_F(Other, bytes_stay_the_unit_of_a_device_whose_users_know_them) {
    const auto backing = open({.path = image("a", 1000, 'a'), .byte_granular = true});
    auto next = backing->open_other({.path = image("b", 1000, 'b')});
    ASSERT_TRUE(next) << next.error().message;
    EXPECT_EQ((*next)->geometry().request_alignment, 1u);
    EXPECT_FALSE((*next)->geometry().direct);
}

TEST_F(Other, direct_io_is_refused_where_requests_may_begin_anywhere) {
    const auto backing = open({.path = image("a", 1 * mib, 'a'), .byte_granular = true});
    const std::string said = refusal(*backing, {.direct_io = DirectIo::on});
    if (said.find("no direct I/O") != std::string::npos) GTEST_SKIP() << said;
    EXPECT_NE(said.find("they may begin and end at any byte"), std::string::npos) << said;
}

TEST_F(Other, the_same_image_is_opened_in_another_way_even_without_a_name) {
    const auto backing = open({.path = image("a", 1 * mib, 'a'), .direct_io = DirectIo::off});
    std::filesystem::remove(dir.file("a"));
    const auto read_only = backing->open_other({.direct_io = DirectIo::off, .read_only = true});
    ASSERT_TRUE(read_only) << read_only.error().message;
    EXPECT_TRUE((*read_only)->geometry().read_only);
    EXPECT_EQ((*read_only)->path(), backing->path());
    const auto direct = backing->open_other({});
    ASSERT_TRUE(direct) << direct.error().message;
    EXPECT_EQ((*direct)->geometry().direct, (*direct)->geometry().direct_reason.empty());
}

TEST_F(Other, the_size_that_users_know_stays_whatever_became_of_the_image) {
    const std::string path = image("a", 1 * mib, 'a');
    const auto backing = open({.path = path});
    for (const u64 bytes : {2 * mib, 512 * kib}) {
        std::filesystem::resize_file(path, bytes);
        auto next = backing->open_other({.read_only = true});
        ASSERT_TRUE(next) << next.error().message;
        backing->exchange(**next);
        EXPECT_EQ(backing->size_now(), 1 * mib);
    }
}

TEST_F(Other, what_was_learned_goes_with_its_image) {
    const auto opened = open_for_test({.path = image("a", 1 * mib, 'a')});
    if (!opened->geometry().write_zeroes) GTEST_SKIP() << "no holes in " << dir.file("");
    opened->backing->note_unsupported(Access::Kind::zero_keep,
                                      opened->operation(Access::Kind::zero_keep));
    ASSERT_FALSE(opened->backing->zero_supported(Access::Kind::zero_keep));
    auto next = opened->backing->open_other({.path = image("b", 1 * mib, 'b')});
    ASSERT_TRUE(next) << next.error().message;
    opened->backing->exchange(**next);
    EXPECT_TRUE(opened->backing->zero_supported(Access::Kind::zero_keep));
    EXPECT_FALSE((*next)->zero_supported(Access::Kind::zero_keep));
}

TEST_F(Other, a_new_limit_is_measured_within_the_image) {
    const auto backing = open({.path = image("a", 1 * mib, 'a'), .offset_bytes = 4096});
    EXPECT_EQ(backing->measure_again(64 * kib)->size_bytes, 64 * kib);
    EXPECT_EQ(backing->measure_again(1 * mib - 4096)->size_bytes, 1 * mib - 4096);
    EXPECT_EQ(backing->measure_again(0)->size_bytes, 1 * mib - 4096);
    const auto beyond = backing->measure_again(1 * mib);
    ASSERT_FALSE(beyond);
    EXPECT_NE(beyond.error().message.find("has 1044480 bytes behind offset 4096"),
              std::string::npos)
        << beyond.error().message;
    backing->limit_size(8192);
    EXPECT_EQ(backing->measure_again()->size_bytes, 8192u);
}

}  // namespace
}  // namespace ringloop::backing
