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
    const auto upkeep = Upkeep::create(socket_device(), {.autoclear = true});
    ASSERT_TRUE(upkeep);
    EXPECT_FALSE((*upkeep)->last_user_left({})) << "nobody has used it yet";
    EXPECT_FALSE((*upkeep)->last_user_left({.now = 2, .ever = 2}));
    EXPECT_FALSE((*upkeep)->last_user_left({.now = 1, .ever = 2}));
    EXPECT_TRUE((*upkeep)->last_user_left({.now = 0, .ever = 2}));
}

TEST(Upkeep, WhatNobodyTellsOfIsLookedAtEachSecond) {
    const auto upkeep = Upkeep::create(socket_device(), {.watch_size = true});
    ASSERT_TRUE(upkeep);
    EXPECT_FALSE((*upkeep)->clear());
    EXPECT_TRUE(becomes_readable((*upkeep)->fd(), 10'000));
    EXPECT_TRUE((*upkeep)->clear());
}

TEST(Upkeep, ADeviceThatIsNotThereCannotBeWatched) {
    DeviceState state;
    state.transport = TransportChoice::ublk;
    state.device = "/dev/ringloop-there-is-no-such-device";
    const auto upkeep = Upkeep::create(state, {.autoclear = true});
    ASSERT_FALSE(upkeep);
    EXPECT_NE(upkeep.error().message.find(state.device), std::string::npos);
}

}  // namespace
}  // namespace ringloop::control
