#include "base/result.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace ringloop {
namespace {

TEST(FailErrno, names_the_cause_and_the_way_out_that_this_errno_has) {
    const Status failed = fail_errno(EMFILE, "{}: cannot be watched", "/dev/ublkb0");
    EXPECT_EQ(failed.error().number, EMFILE);
    EXPECT_EQ(failed.error().message,
              "/dev/ublkb0: cannot be watched: Too many open files; raise ulimit -n");
}

TEST(FailErrno, ends_with_the_cause_where_the_way_out_depends_on_the_call) {
    const Status failed = fail_errno(ENOENT, "{}", "missing");
    EXPECT_EQ(failed.error().message, "missing: No such file or directory");
}

}  // namespace
}  // namespace ringloop
