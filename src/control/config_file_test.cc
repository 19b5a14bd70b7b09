#include "control/config_file.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cstdlib>
#include <fstream>

#include "control/test_dir.h"

namespace ringloop::control {
namespace {

const std::vector<ConfigKey> keys = {
    {.name = "image"},
    {.name = "read-only", .yes_or_no = true},
    {.name = "nbd", .repeatable = true},
};

std::string error_of(std::string_view text) {
    const auto settings = parse_config(text, "a.conf", keys);
    return settings ? "" : settings.error().message;
}

TEST(ConfigFile, has_a_setting_in_each_line_that_is_no_comment) {
    const auto settings = parse_config(
        "# nbd = tcp:1\n\n \timage\t=  /a b#c = d \n\t# comment\nread-only=yes\nnbd = tcp:1\n"
        "nbd = unix:/x",
        "a.conf", keys);
    ASSERT_TRUE(settings) << settings.error().message;
    EXPECT_EQ(*settings, (std::vector<Setting>{{"image", "/a b#c = d", 3},
                                               {"read-only", "yes", 5},
                                               {"nbd", "tcp:1", 6},
                                               {"nbd", "unix:/x", 7}}));
    EXPECT_EQ(word_of((*settings)[0], keys), "--image=/a b#c = d");
    EXPECT_EQ(word_of((*settings)[1], keys), "--read-only");
    EXPECT_EQ(word_of({"read-only", "no", 1}, keys), "");
    EXPECT_TRUE(parse_config("", "a.conf", keys)->empty());
}

TEST(ConfigFile, that_is_wrong_says_where_what_and_what_to_write) {
    EXPECT_EQ(error_of("image = /a\n\noffest = 1"),
              "a.conf:3: no key 'offest'; write image, or an option of ringloop attach without its "
              "dashes");
    EXPECT_EQ(error_of("image"),
              "a.conf:1: 'image' is no setting; write key = value, or # before a comment");
    EXPECT_EQ(error_of("image ="), "a.conf:1: 'image' has no value; write one, or remove the line");
    EXPECT_EQ(error_of("#\nimage = /a\nimage = /b"),
              "a.conf:3: 'image' is in line 2 already; remove one of them");
    EXPECT_EQ(error_of("read-only = true"),
              "a.conf:1: 'read-only = true': write yes or no, and a comment on a line of its own");
    EXPECT_EQ(error_of("name = x"),
              "a.conf:1: 'name' is not set here: the file's own name is; rename the file");
    EXPECT_EQ(error_of("image = /a\r\n"),
              "a.conf:1: a control character (\\x0d); write plain text with Unix line ends");
    EXPECT_NE(error_of(std::string_view("image = /a\0b", 12)), "");
    EXPECT_NE(error_of("--image = /a"), "");
    EXPECT_NE(error_of("= /a"), "");
    EXPECT_NE(error_of("Image = /a"), "");
}

TEST(ConfigFile, is_a_regular_file_of_a_bounded_size) {
    const TestDir dir;
    const std::string path = config_path(dir.path(), "disk");
    EXPECT_EQ(read_config(path).error().number, ENOENT);
    std::ofstream(path) << std::string(config_file_bytes_max, '#');
    EXPECT_EQ(read_config(path)->size(), config_file_bytes_max);
    std::ofstream(path, std::ios::app) << '#';
    EXPECT_EQ(read_config(path).error().number, EFBIG);
    EXPECT_EQ(read_config(dir.path()).error().number, EINVAL);
    ASSERT_EQ(::mkfifo((dir / "fifo").c_str(), 0600), 0);
    EXPECT_EQ(read_config(dir / "fifo").error().number, EINVAL);
}

TEST(ConfigFile, names_are_those_of_the_files_in_the_directory) {
    const TestDir dir;
    for (const char* name : {"b.conf", "a.conf", "a.conf~", ".hidden.conf", "conf", "c.confx"}) {
        std::ofstream(dir / name) << "";
    }
    EXPECT_EQ(config_names(dir.path()), (std::vector<std::string>{"a", "b"}));
    EXPECT_EQ(config_names(dir / "none").error().number, ENOENT);
}

TEST(ConfigFile, directory_is_what_was_chosen_before_the_environment_and_etc) {
    ::unsetenv("RINGLOOP_CONFIG_DIR");
    EXPECT_EQ(config_directory(""), "/etc/ringloop");
    ::setenv("RINGLOOP_CONFIG_DIR", "/env", 1);
    EXPECT_EQ(config_directory(""), "/env");
    EXPECT_EQ(config_directory("/chosen"), "/chosen");
    ::unsetenv("RINGLOOP_CONFIG_DIR");
}

}  // namespace
}  // namespace ringloop::control
