#include "control/configured.h"

#include <gtest/gtest.h>

namespace ringloop::control {
namespace {

TEST(Configured, KnowsTheUnitsThatAreOurs) {
    EXPECT_EQ(unit_in("0::/system.slice/ringloop@disk.service"), "ringloop@disk.service");
    EXPECT_EQ(unit_in("0::/system.slice/system-ringloop.slice/ringloop@a-b.service/lanes"),
              "ringloop@a-b.service");
    EXPECT_EQ(unit_in("0::/user.slice/user-0.slice/session-1.scope"), "");
    EXPECT_EQ(unit_in("0::/system.slice/cron.service"), "");
    EXPECT_EQ(unit_in(""), "");
}

}  // namespace
}  // namespace ringloop::control
