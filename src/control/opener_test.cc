#include "control/opener.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <unistd.h>

#include <cerrno>

namespace ringloop::control {
namespace {

class OpenerTest : public ::testing::Test {
protected:
    void SetUp() override {
        auto started = Opener::start("a socket");
        ASSERT_TRUE(started) << started.error().message;
        opener_ = std::move(*started);
    }

    std::unique_ptr<Opener> opener_;
};

TEST_F(OpenerTest, opens_an_image_again_for_writing) {
    char path[] = "/tmp/ringloop-opener-XXXXXX";
    const UniqueFd made(::mkstemp(path));
    ASSERT_TRUE(made);
    const UniqueFd reader(::open(path, O_RDONLY | O_CLOEXEC));
    ::unlink(path);
    const UniqueFd writer = opener_->open_again(reader.get(), O_RDWR);
    ASSERT_TRUE(writer) << errno;
    EXPECT_EQ(::pwrite(writer.get(), "x", 1, 0), 1);
    char byte = 0;
    EXPECT_EQ(::pread(reader.get(), &byte, 1, 0), 1);
    EXPECT_EQ(byte, 'x');
    EXPECT_TRUE(opener_->health());
}

// A server may read these; to write them would be to leave the sandbox.
TEST_F(OpenerTest, opens_no_setting_of_the_kernel_for_writing) {
    for (const char* path : {"/proc/self/comm", "/proc/self", "/dev/null"}) {
        const UniqueFd reader(::open(path, O_RDONLY | O_CLOEXEC));
        ASSERT_TRUE(reader) << path;
        errno = 0;
        EXPECT_FALSE(opener_->open_again(reader.get(), O_RDWR)) << path;
        EXPECT_EQ(errno, EPERM) << path;
    }
}

TEST_F(OpenerTest, opens_nothing_with_other_flags) {
    const UniqueFd folder(::open("/tmp", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    EXPECT_FALSE(opener_->open_again(folder.get(), O_RDWR | O_TMPFILE));
    EXPECT_EQ(errno, EINVAL);
}

}  // namespace
}  // namespace ringloop::control
