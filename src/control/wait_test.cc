#include "control/wait.h"

#include <gtest/gtest.h>

namespace ringloop::control {
namespace {

TEST(WaitUntil, asks_once_even_when_there_is_no_time) {
    int asked = 0;
    EXPECT_TRUE(wait_until(Deadline(0), [&] { return ++asked == 1; }));
    EXPECT_FALSE(wait_until(Deadline(0), [&] { return ++asked, false; }));
    EXPECT_EQ(asked, 2);
}

TEST(WaitUntil, asks_again_until_it_is_true) {
    int asked = 0;
    EXPECT_TRUE(wait_until(Deadline(60'000), [&] { return ++asked == 4; }));
    EXPECT_EQ(asked, 4);
}

}  // namespace
}  // namespace ringloop::control
