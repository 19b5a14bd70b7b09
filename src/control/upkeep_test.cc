#include "control/upkeep.h"

#include <gtest/gtest.h>
#include <poll.h>

namespace ringloop::control {
namespace {

bool becomes_readable(int fd, int timeout_ms) {
    pollfd poll_fd{fd, POLLIN, 0};
    return ::poll(&poll_fd, 1, timeout_ms) == 1;
}

DeviceState socket_device() {
    DeviceState state;
    state.transport = TransportChoice::socket;
    state.device = "nbd+unix:///?socket=/run/a";
    return state;
}

TEST(Upkeep, UdevIsNoUser) {
    const auto users =
        users_among({"pid 7 ((udev-worker)) has it open", "pid 8 (systemd-udevd) has it open",
                     "mounted on /mnt", "pid 9 (fio) has it open"});
    EXPECT_EQ(users, (std::vector<std::string>{"mounted on /mnt", "pid 9 (fio) has it open"}));
}

TEST(Upkeep, ClientsThatCameAndWentWereTheLastUsers) {
    const auto upkeep = Upkeep::create(socket_device());
    ASSERT_TRUE(upkeep);
    ASSERT_TRUE((*upkeep)->watch({.autoclear = true}, {}));
    EXPECT_FALSE((*upkeep)->last_user_left({})) << "nobody has used it yet";
    EXPECT_FALSE((*upkeep)->last_user_left({.now = 2, .ever = 2}));
    EXPECT_FALSE((*upkeep)->last_user_left({.now = 1, .ever = 2}));
    EXPECT_TRUE((*upkeep)->last_user_left({.now = 0, .ever = 2}));
}

TEST(Upkeep, WhoHadGoneBeforeWasNotTheLastUser) {
    const auto upkeep = Upkeep::create(socket_device());
    ASSERT_TRUE(upkeep);
    ASSERT_TRUE((*upkeep)->watch({.autoclear = true}, {.now = 0, .ever = 3}));
    EXPECT_FALSE((*upkeep)->last_user_left({.now = 0, .ever = 3}));
    EXPECT_TRUE((*upkeep)->last_user_left({.now = 0, .ever = 4}));

    // Who is there when it is asked for is a user.
    ASSERT_TRUE((*upkeep)->watch({}, {.now = 1, .ever = 5}));
    ASSERT_TRUE((*upkeep)->watch({.autoclear = true}, {.now = 1, .ever = 5}));
    EXPECT_TRUE((*upkeep)->last_user_left({.now = 0, .ever = 5}));
}

TEST(Upkeep, WhatNobodyTellsOfIsLookedAtEachSecond) {
    const auto upkeep = Upkeep::create(socket_device());
    ASSERT_TRUE(upkeep);
    EXPECT_FALSE(becomes_readable((*upkeep)->fd(), 0)) << "nothing is wanted";
    ASSERT_TRUE((*upkeep)->watch({.watch_size = true}, {}));
    EXPECT_FALSE((*upkeep)->clear());
    EXPECT_TRUE(becomes_readable((*upkeep)->fd(), 10'000));
    EXPECT_TRUE((*upkeep)->clear());
}

TEST(Upkeep, ADeviceThatIsNotThereCannotBeWatched) {
    DeviceState state;
    state.transport = TransportChoice::ublk;
    state.device = "/dev/ringloop-there-is-no-such-device";
    const auto upkeep = Upkeep::create(state);
    ASSERT_TRUE(upkeep);
    const Status watched = (*upkeep)->watch({.autoclear = true}, {});
    ASSERT_FALSE(watched);
    EXPECT_NE(watched.error().message.find(state.device), std::string::npos);
    EXPECT_FALSE((*upkeep)->wanted().autoclear);
}

}  // namespace
}  // namespace ringloop::control
