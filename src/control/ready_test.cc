#include "control/ready.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <array>
#include <csignal>
#include <string>

namespace ringloop::control {
namespace {

struct Pipe {
    Pipe() {
        std::array<int, 2> fds{};
        EXPECT_EQ(::pipe(fds.data()), 0);
        read.reset(fds[0]);
        write.reset(fds[1]);
    }
    UniqueFd read;
    UniqueFd write;
};

TEST(ReadyPipe, tells_one_line_and_closes) {
    Pipe pipe;
    auto ready = ReadyPipe::adopt(pipe.write.release());
    ASSERT_TRUE(ready);
    EXPECT_FALSE(ready->broken());
    ASSERT_TRUE(ready->tell("{}"));
    std::array<char, 16> text{};
    EXPECT_EQ(::read(pipe.read.get(), text.data(), text.size()), 3);
    EXPECT_EQ(std::string(text.data()), "{}\n");
    EXPECT_EQ(::read(pipe.read.get(), text.data(), text.size()), 0) << "closed";
}

TEST(ReadyPipe, knows_that_nobody_waits) {
    ::signal(SIGPIPE, SIG_IGN);
    Pipe pipe;
    auto ready = ReadyPipe::adopt(pipe.write.release());
    ASSERT_TRUE(ready);
    pipe.read.reset();
    EXPECT_TRUE(ready->broken());
    EXPECT_FALSE(ready->tell("{}"));
}

TEST(ReadyPipe, is_not_inherited_further) {
    Pipe pipe;
    const int fd = pipe.write.release();
    const auto ready = ReadyPipe::adopt(fd);
    ASSERT_TRUE(ready);
    EXPECT_EQ(::fcntl(fd, F_GETFD) & FD_CLOEXEC, FD_CLOEXEC);
}

TEST(ReadyPipe, refuses_a_descriptor_that_is_no_pipe) {
    const UniqueFd file(::open("/dev/null", O_WRONLY | O_CLOEXEC));
    EXPECT_FALSE(ReadyPipe::adopt(file.get()));
    EXPECT_FALSE(ReadyPipe::adopt(1 << 20));
    EXPECT_FALSE(ReadyPipe::adopt(-1));
    EXPECT_FALSE(ReadyPipe::adopt(2));
}

TEST(ReadyPipe, in_the_foreground_has_nobody_to_tell) {
    ReadyPipe ready;
    EXPECT_FALSE(ready.broken());
    EXPECT_TRUE(ready.tell("{}"));
}

}  // namespace
}  // namespace ringloop::control
