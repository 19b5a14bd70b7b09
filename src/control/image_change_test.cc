#include "control/image_change.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace ringloop::control {
namespace {

using nlohmann::json;

const DeviceState writable = {
    .name = "disk", .device = "/dev/ublkb0", .backing_file = "/a", .direct_io = true};

DeviceState read_only() {
    DeviceState state = writable;
    state.read_only = true;
    return state;
}

TEST(ImageWanted, goes_to_the_server_and_arrives_as_it_was) {
    for (const ImageWanted& wanted :
         {ImageWanted{}, ImageWanted{.backing_file = "/b", .force = true},
          ImageWanted{.direct_io = backing::DirectIo::off}, ImageWanted{.read_only = false},
          ImageWanted{.backing_file = "/b",
                      .direct_io = backing::DirectIo::automatic,
                      .read_only = true}}) {
        json question;
        ask_for(question, wanted);
        const auto parsed = image_wanted_in(question);
        ASSERT_TRUE(parsed) << parsed.error().message;
        EXPECT_EQ(*parsed, wanted);
    }
}

TEST(ImageWanted, of_a_stranger_is_checked) {
    for (const json& question :
         {json{{"backing_file", 1}}, json{{"backing_file", ""}}, json{{"backing_file", "b"}},
          json{{"backing_file", std::string("/b\0c", 4)}},
          json{{"backing_file", "/" + std::string(5000, 'b')}}, json{{"direct_io", true}},
          json{{"direct_io", "fast"}}, json{{"read_only", "on"}}, json{{"force", 1}}}) {
        EXPECT_FALSE(image_wanted_in(question)) << question;
    }
}

TEST(ImageWanted, another_image_under_writers_needs_force) {
    const ImageWanted another{.backing_file = "/b"};
    const Status refused = may_change_image(another, writable);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find("/dev/ublkb0: is writable"), std::string::npos);
    EXPECT_NE(refused.error().message.find("--force"), std::string::npos);
    EXPECT_TRUE(may_change_image(another, read_only()));
    EXPECT_TRUE(may_change_image({.backing_file = "/b", .force = true}, writable));
    EXPECT_TRUE(may_change_image({.read_only = true}, writable));
    EXPECT_FALSE(may_change_image({.backing_file = "/b", .read_only = true}, writable))
        << "who writes now has the old one's content";
    EXPECT_FALSE(may_change_image({.backing_file = "/b", .read_only = false}, read_only()))
        << "whoever opens it for writing next expects what it was";
}

TEST(ImageText, has_a_line_for_each_thing_that_was_asked_for) {
    DeviceState after = read_only();
    after.backing_file = "/b";
    after.direct_io = false;
    after.direct_io_reason = "--direct-io=off";
    json answer = json::object();
    const ImageWanted all{
        .backing_file = "/b", .direct_io = backing::DirectIo::off, .read_only = true};
    add_image_to(answer, all, writable, after);
    EXPECT_EQ(image_text(answer, "/dev/ublkb0"),
              "/dev/ublkb0: serves /b now, /a before\n"
              "/dev/ublkb0: buffered (--direct-io=off) now, direct I/O before\n"
              "/dev/ublkb0: read-only now, writable before\n");
    json same = json::object();
    add_image_to(same, {.read_only = false}, writable, writable);
    EXPECT_EQ(image_text(same, "/dev/ublkb0"), "/dev/ublkb0: writable, as before\n");
    EXPECT_EQ(image_text(json{{"policy", "auto"}}, "/dev/ublkb0"), "");
}

}  // namespace
}  // namespace ringloop::control
