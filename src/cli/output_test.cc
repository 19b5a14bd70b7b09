#include "cli/output.h"

#include <gtest/gtest.h>

namespace ringloop::cli {
namespace {

TEST(Table, aligns_its_columns_without_blanks_at_the_end) {
    EXPECT_EQ(format_table({{"NAME", "SIZE"}, {"a", "512 B"}, {"longer", ""}}),
              "NAME    SIZE\n"
              "a       512 B\n"
              "longer");
}

TEST(Table, without_rows_is_empty) { EXPECT_EQ(format_table({}), ""); }

TEST(Output, of_a_hostile_file_name_stays_on_its_line) {
    EXPECT_EQ(one_line("a\nb\x1b[31m\x7f"), "a\\x0ab\\x1b[31m\\x7f");
    EXPECT_EQ(one_line("d\xc3\xbcnn.img"), "d\xc3\xbcnn.img");
}

}  // namespace
}  // namespace ringloop::cli
