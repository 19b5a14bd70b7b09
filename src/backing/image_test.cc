#include "backing/image.h"

#include <gtest/gtest.h>
#include <sys/fsuid.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cerrno>
#include <cstring>

#include "backing/test_dir.h"

namespace ringloop::backing {
namespace {

// Takes root's power over permissions away from this thread: the kernel drops CAP_DAC_OVERRIDE
// with the file system's user id. Everybody else has none to begin with.
class WithoutPrivileges {
public:
    WithoutPrivileges() : user_(static_cast<uid_t>(setfsuid(65534))) {}
    ~WithoutPrivileges() { setfsuid(user_); }

private:
    uid_t user_;
};

Error error_of(const Options& options) {
    Result<Image> image = open_image(options);
    if (image) {
        ADD_FAILURE() << options.path << " was opened";
        return {};
    }
    return std::move(image).error();
}

bool contains(const std::string& text, const char* part) {
    return text.find(part) != std::string::npos;
}

TEST(ImageTest, a_file_is_opened_for_writing_under_its_absolute_path) {
    const TestDir dir;
    dir.sparse("disk.img", 8192);
    ASSERT_EQ(symlink("disk.img", dir.file("link").c_str()), 0);
    Result<Image> image = open_image({.path = dir.file("link")});
    ASSERT_TRUE(image) << image.error().message;
    EXPECT_EQ(image->path, std::filesystem::canonical(dir.file("disk.img")));
    EXPECT_EQ(image->size_bytes, 8192u);
    EXPECT_FALSE(image->block_device);
    EXPECT_EQ(fcntl(image->fd.get(), F_GETFL) & O_ACCMODE, O_RDWR);
    EXPECT_EQ(fcntl(image->fd.get(), F_GETFD), FD_CLOEXEC);
}

TEST(ImageTest, a_relative_path_becomes_absolute) {
    const TestDir dir;
    const std::string path = dir.sparse("disk.img", 512);
    const std::string before = std::filesystem::current_path();
    std::filesystem::current_path(std::filesystem::path(path).parent_path());
    const Result<Image> image = open_image({.path = "disk.img"});
    std::filesystem::current_path(before);
    ASSERT_TRUE(image) << image.error().message;
    EXPECT_EQ(image->path, std::filesystem::canonical(path));
}

TEST(ImageTest, a_read_only_image_cannot_be_written_through_its_descriptor) {
    const TestDir dir;
    const Result<Image> image =
        open_image({.path = dir.sparse("disk.img", 512), .read_only = true});
    ASSERT_TRUE(image) << image.error().message;
    EXPECT_EQ(fcntl(image->fd.get(), F_GETFL) & O_ACCMODE, O_RDONLY);
}

TEST(ImageTest, a_missing_file_is_named_with_a_way_to_make_it) {
    const Error error = error_of({.path = "/var/tmp/ringloop-no-such-file"});
    EXPECT_EQ(error.number, ENOENT);
    EXPECT_TRUE(error.message.starts_with("/var/tmp/ringloop-no-such-file: no such file"));
    EXPECT_TRUE(contains(error.message, "truncate"));
}

TEST(ImageTest, no_name_at_all_is_refused) {
    EXPECT_EQ(error_of({}).message, "no image was named; give the path of one");
}

TEST(ImageTest, a_directory_is_refused) {
    const Error error = error_of({.path = "/var/tmp"});
    EXPECT_EQ(error.number, EISDIR);
    EXPECT_TRUE(contains(error.message, "/var/tmp: is a directory"));
}

TEST(ImageTest, a_character_device_is_refused) {
    EXPECT_TRUE(contains(error_of({.path = "/dev/zero"}).message, "is a character device"));
}

TEST(ImageTest, a_fifo_is_refused_without_waiting_for_its_writer) {
    const TestDir dir;
    ASSERT_EQ(mkfifo(dir.file("fifo").c_str(), 0600), 0);
    const Error error = error_of({.path = dir.file("fifo"), .read_only = true});
    EXPECT_TRUE(contains(error.message, "is a FIFO"));
}

TEST(ImageTest, a_socket_is_refused) {
    const TestDir dir;
    const UniqueFd fd(socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address = {.sun_family = AF_UNIX, .sun_path = {}};
    ASSERT_LT(dir.file("socket").size(), sizeof address.sun_path);
    std::strcpy(address.sun_path, dir.file("socket").c_str());
    // The socket interface takes every kind of address through this one type.
    ASSERT_EQ(bind(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
    EXPECT_TRUE(contains(error_of({.path = dir.file("socket")}).message, "is a socket"));
}

TEST(ImageTest, an_empty_file_is_refused) {
    const TestDir dir;
    const Error error = error_of({.path = dir.sparse("empty.img", 0)});
    EXPECT_TRUE(contains(error.message, "empty.img: is empty"));
}

TEST(ImageTest, a_file_that_can_only_be_read_asks_for_read_only_and_does_not_turn_so_itself) {
    const TestDir dir;
    const std::string path = dir.sparse("disk.img", 512);
    ASSERT_EQ(chmod(path.c_str(), 0444), 0);
    const WithoutPrivileges guard;
    const Error error = error_of({.path = path});
    EXPECT_EQ(error.number, EACCES);
    EXPECT_TRUE(contains(error.message, "no permission to write it; attach it with --read-only"));
    EXPECT_TRUE(open_image({.path = path, .read_only = true}));
}

TEST(ImageTest, a_file_that_cannot_be_read_does_not_suggest_read_only) {
    const TestDir dir;
    const std::string path = dir.sparse("disk.img", 512);
    ASSERT_EQ(chmod(path.c_str(), 0000), 0);
    const WithoutPrivileges guard;
    for (const bool read_only : {false, true}) {
        const Error error = error_of({.path = path, .read_only = read_only});
        EXPECT_EQ(error.number, EACCES);
        EXPECT_TRUE(contains(error.message, "no permission to read it"));
        EXPECT_FALSE(contains(error.message, "--read-only"));
    }
}

TEST(ImageTest, a_directory_that_cannot_be_searched_is_told_from_a_missing_file) {
    const TestDir dir;
    std::filesystem::create_directory(dir.file("closed"));
    dir.sparse("closed/disk.img", 512);
    ASSERT_EQ(chmod(dir.file("closed").c_str(), 0000), 0);
    {
        const WithoutPrivileges guard;
        const Error error = error_of({.path = dir.file("closed/disk.img")});
        EXPECT_EQ(error.number, EACCES);
        EXPECT_TRUE(contains(error.message, "no permission to search a directory"));
    }
    chmod(dir.file("closed").c_str(), 0700);
}

TEST(ImageTest, a_running_program_asks_for_read_only) {
    const std::string self = std::filesystem::read_symlink("/proc/self/exe");
    if (access(self.c_str(), W_OK) != 0 && errno == EACCES) {
        GTEST_SKIP() << self << " belongs to somebody else";
    }
    const Error error = error_of({.path = self});
    EXPECT_EQ(error.number, ETXTBSY);
    EXPECT_TRUE(contains(error.message, "in use as a swap file or a running program; stop that"));
    EXPECT_TRUE(contains(error.message, "--read-only"));
}

TEST(ImageTest, a_message_stays_one_line_whatever_the_file_is_called) {
    const TestDir dir;
    const Error error = error_of({.path = dir.sparse("a\nb\033.img", 0)});
    EXPECT_EQ(error.message.find('\n'), std::string::npos);
    EXPECT_TRUE(contains(error.message, "a?b?.img: is empty"));
}

TEST(ImageTest, reopening_makes_a_description_with_flags_of_its_own) {
    const TestDir dir;
    const Result<Image> image = open_image({.path = dir.sparse("disk.img", 512)});
    ASSERT_TRUE(image);
    // It works for a file that has lost its name, too.
    ASSERT_EQ(unlink(dir.file("disk.img").c_str()), 0);
    const UniqueFd again = reopen(image->fd.get(), O_RDONLY);
    ASSERT_TRUE(again);
    EXPECT_EQ(fcntl(again.get(), F_GETFL) & O_ACCMODE, O_RDONLY);
    EXPECT_EQ(fcntl(again.get(), F_GETFD), FD_CLOEXEC);
    EXPECT_EQ(fcntl(image->fd.get(), F_GETFL) & O_ACCMODE, O_RDWR);
}

}  // namespace
}  // namespace ringloop::backing
