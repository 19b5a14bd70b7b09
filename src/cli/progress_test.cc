#include "cli/progress.h"

#include <gtest/gtest.h>

namespace ringloop::cli {
namespace {

constexpr u64 gib = u64{1} << 30;

TEST(Progress, TellsShareRateAndRest) {
    EXPECT_EQ(progress_text("verify", gib, 4 * gib, 2),
              "verify: 25 %, 1.0 GiB of 4.0 GiB, 512 MiB/s, 6 s left");
    EXPECT_EQ(progress_text("verify", gib, 400 * gib, 1),
              "verify: 0 %, 1.0 GiB of 400 GiB, 1.0 GiB/s, 6:39 min left");
    EXPECT_EQ(progress_text("verify", gib, 8001 * gib, 1),
              "verify: 0 %, 1.0 GiB of 7.8 TiB, 1.0 GiB/s, 2:13 h left");
}

TEST(Progress, SaysNothingOfARateThatIsNotKnown) {
    EXPECT_EQ(progress_text("verify", 0, gib, 5), "verify: 0 %, 0 B of 1.0 GiB");
    EXPECT_EQ(progress_text("verify", gib, gib, 0.1), "verify: 100 %, 1.0 GiB of 1.0 GiB");
    EXPECT_EQ(progress_text("verify", 0, 0, 0), "verify: 0 %, 0 B of 0 B");
}

}  // namespace
}  // namespace ringloop::cli
