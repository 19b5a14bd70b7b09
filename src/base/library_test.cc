#include "base/library.h"

#include <gtest/gtest.h>

namespace ringloop {
namespace {

constexpr Library mathematics = {"libm.so.6", "libc6", "count on your fingers"};

struct Functions {
    double (*fabs)(double);
    double (*hypot)(double, double);
};

TEST(Library, is_called_through_the_table_that_it_was_loaded_into) {
    const auto table = load_library<Functions>(mathematics, std::array{"fabs", "hypot"});
    ASSERT_TRUE(table) << table.error().message;
    EXPECT_EQ(table->fabs(-3), 3);
    EXPECT_EQ(table->hypot(3, 4), 5);
}

TEST(Library, that_is_missing_is_named_with_its_package_and_the_way_out) {
    const auto table = load_library<Functions>({"libnone.so.1", "libnone1", "do without"},
                                               std::array{"fabs", "hypot"});
    ASSERT_FALSE(table);
    EXPECT_TRUE(table.error().message.starts_with("libnone.so.1: ")) << table.error().message;
    EXPECT_TRUE(
        table.error().message.ends_with("; install the Debian package libnone1, or do without"))
        << table.error().message;
}

TEST(Library, that_lacks_a_function_is_not_used) {
    const auto table = load_library<Functions>(mathematics, std::array{"fabs", "no_such_function"});
    ASSERT_FALSE(table);
    EXPECT_NE(table.error().message.find("libm.so.6"), std::string::npos) << table.error().message;
    EXPECT_NE(table.error().message.find("no_such_function"), std::string::npos);
}

}  // namespace
}  // namespace ringloop
