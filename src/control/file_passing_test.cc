#include "control/file_passing.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <array>
#include <cerrno>
#include <future>

namespace ringloop::control {
namespace {

struct Pair {
    UniqueFd one;
    UniqueFd other;
};

Pair make_pair() {
    std::array<int, 2> fds{};
    EXPECT_EQ(::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, fds.data()), 0);
    return {UniqueFd(fds[0]), UniqueFd(fds[1])};
}

ino_t inode_of(int fd) {
    struct stat status{};
    EXPECT_EQ(::fstat(fd, &status), 0);
    return status.st_ino;
}

TEST(FilePassing, ManyComeInTheirOrder) {
    const Pair pair = make_pair();
    constexpr std::size_t count = 300;  // more than one packet takes
    std::vector<UniqueFd> pipes;
    std::vector<int> sent;
    for (std::size_t i = 0; i < count; ++i) {
        std::array<int, 2> fds{};
        ASSERT_EQ(::pipe2(fds.data(), O_CLOEXEC), 0);
        pipes.emplace_back(fds[0]);
        ::close(fds[1]);
        sent.push_back(fds[0]);
    }
    auto sending = std::async(std::launch::async,
                              [&] { return send_files(pair.one.get(), sent, Deadline(10'000)); });
    const auto received = receive_files(pair.other.get(), count, Deadline(10'000));
    ASSERT_TRUE(sending.get());
    ASSERT_TRUE(received.has_value());
    ASSERT_EQ(received->size(), count);
    for (std::size_t i = 0; i < count; ++i) {
        EXPECT_EQ(inode_of((*received)[i].get()), inode_of(sent[i])) << i;
        EXPECT_EQ(::fcntl((*received)[i].get(), F_GETFD), FD_CLOEXEC);
    }
}

TEST(FilePassing, WhatIsNotThatManyIsRefused) {
    const Pair pair = make_pair();
    const std::array<int, 2> two = {0, 1};
    ASSERT_TRUE(send_files(pair.one.get(), two, Deadline(10'000)));
    const auto fewer = receive_files(pair.other.get(), 1, Deadline(10'000));
    ASSERT_FALSE(fewer.has_value());
    EXPECT_EQ(fewer.error().number, EBADMSG);

    ASSERT_EQ(::send(pair.one.get(), "text", 4, 0), 4);
    EXPECT_FALSE(receive_files(pair.other.get(), 1, Deadline(10'000)).has_value());
    EXPECT_EQ(receive_files(pair.other.get(), files_max + 1, Deadline(10'000)).error().number,
              EMFILE);
    const auto late = receive_files(pair.other.get(), 1, Deadline(1));
    ASSERT_FALSE(late.has_value());
    EXPECT_EQ(late.error().number, ETIMEDOUT);
}

TEST(FilePassing, TheEndOfTheOtherIsAnError) {
    Pair pair = make_pair();
    pair.other.reset();
    const std::array<int, 1> one = {0};
    EXPECT_FALSE(send_files(pair.one.get(), one, Deadline(10'000)));
    pair = make_pair();
    pair.one.reset();
    EXPECT_FALSE(receive_files(pair.other.get(), 1, Deadline(10'000)).has_value());
}

}  // namespace
}  // namespace ringloop::control
