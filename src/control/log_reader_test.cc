#include "control/log_reader.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "control/test_dir.h"

namespace ringloop::control {
namespace {

TEST(LogLine, has_a_time_a_level_and_a_text) {
    EXPECT_EQ(parse_log_line("2025-01-31T12:00:00.123Z info a  b"),
              (LogLine{"2025-01-31T12:00:00.123Z", "info", "a  b"}));
    for (const char* line : {"", "src/x.cc:1: assertion failed", "2025-01-31T12:00:00.123Z",
                             "2025-01-31T12:00:00.123Z info", "2025-01-31 12:00:00.123Z info x",
                             "2025-01-31T12:00:00.123Zinfo x y"}) {
        EXPECT_EQ(parse_log_line(line), (LogLine{"", "", line})) << line;
    }
}

class LogReaderTest : public testing::Test {
protected:
    void write(const std::string& file, const std::string& text) {
        std::ofstream(dir_ / file, std::ios::app) << text;
    }
    std::string next() {
        std::string texts;
        for (const LogLine& line : reader_.next()) texts += line.text + "|";
        return texts;
    }

    TestDir dir_;
    const RuntimeDir directory_ = *RuntimeDir::open_at(dir_ / "");
    LogReader reader_{directory_, "x"};
};

TEST_F(LogReaderTest, finds_nothing_where_there_is_no_log) {
    EXPECT_EQ(next(), "");
    EXPECT_FALSE(reader_.found());
    write("x.log", "late\n");
    EXPECT_EQ(next(), "late|");
    EXPECT_TRUE(reader_.found());
}

TEST_F(LogReaderTest, reads_each_line_once_and_whole) {
    write("x.1.log", "zero\n");
    write("x.log", "one\ntw");
    EXPECT_EQ(next(), "zero|one|");
    EXPECT_EQ(next(), "");
    write("x.log", "o\nthree\n");
    EXPECT_EQ(next(), "two|three|");
}

TEST_F(LogReaderTest, goes_on_in_the_next_file_and_after_the_end) {
    write("x.log", "one\n");
    EXPECT_EQ(next(), "one|");
    write("x.log", "two\n");
    std::filesystem::rename(dir_ / "x.log", dir_ / "x.1.log");
    write("x.log", "three\n");
    EXPECT_EQ(next(), "two|three|");
    std::ofstream server(dir_ / "x.log", std::ios::app);
    std::filesystem::remove(dir_ / "x.log");
    server << "four\n" << std::flush;
    EXPECT_EQ(next(), "four|");
}

}  // namespace
}  // namespace ringloop::control
