#include "cli/text_width.h"

#include <gtest/gtest.h>

namespace ringloop::cli {
namespace {

TEST(TextWidth, fills_up_or_cuts) {
    EXPECT_EQ(fit("disk", 6), "disk  ");
    EXPECT_EQ(fit("disk", 4), "disk");
    EXPECT_EQ(fit("disk-of-a-guest", 6), "disk-~");
    EXPECT_EQ(fit("disk", 1), "~");
    EXPECT_EQ(fit("disk", 0), "");
    EXPECT_EQ(fit("", 2), "  ");
}

TEST(TextWidth, counts_what_the_terminal_shows) {
    EXPECT_EQ(columns_of("gr\xc3\xbcn"), 4u);
    EXPECT_EQ(fit("gr\xc3\xbcn", 4), "gr\xc3\xbcn");
    EXPECT_EQ(columns_of("\xe6\x97\xa5\xe6\x9c\xac"), 4u) << "two wide ones";
    EXPECT_EQ(fit("\xe6\x97\xa5\xe6\x9c\xac", 3), "\xe6\x97\xa5~");
    EXPECT_EQ(fit("\xe6\x97\xa5\xe6\x9c\xac", 2), "~ ") << "half a character is none";
    EXPECT_EQ(columns_of("e\xcc\x81"), 1u) << "a mark has no column of its own";
}

TEST(TextWidth, lets_no_file_name_command_the_terminal) {
    EXPECT_EQ(fit("a\x1b[2J", 10), "a\\x1b[2J  ");
    EXPECT_EQ(fit("\xc2\x9b", 8), "\\xc2\\x9b") << "an escape of one character";
    EXPECT_EQ(fit("\xff\xc3", 8), "\\xff\\xc3");
    EXPECT_EQ(fit("\xe2\x80\xae", 2), "  ") << "no other direction of writing";
}

}  // namespace
}  // namespace ringloop::cli
