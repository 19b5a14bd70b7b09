#include "control/set.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "backing/test_dir.h"

namespace ringloop::control {
namespace {

using nlohmann::json;

const DeviceState example = {.name = "disk", .device = "/dev/ublkb0", .charge = "issuer"};

TEST(Change, goes_to_the_server_and_arrives_as_it_was) {
    for (const Change& change :
         {Change{.dispatching = {.policy = "linux-4.4", .workers = {}}},
          Change{.dispatching = {.policy = "", .workers = 1}},
          Change{.dispatching = {.policy = "auto", .workers = engine::workers_max}},
          Change{.upkeep = {.autoclear = true, .watch_size = false}}, Change{.lane_idle_s = 1},
          Change{.reap_lanes = true}, Change{.image = {.read_only = true, .force = true}},
          Change{.resize = true}, Change{.resize = true, .sizelimit_bytes = 0},
          Change{.on_error = {.resume = true}},
          Change{.on_error = {.on_error = engine::OnError::report}},
          Change{.on_error = {.on_error = engine::OnError::pause, .resume = true}},
          Change{.resize = true, .sizelimit_bytes = ~u64{0}},
          Change{.dispatching = {.policy = "auto", .workers = 2},
                 .lane_idle_s = lane_idle_max_s,
                 .reap_lanes = true}}) {
        const auto parsed = parse_question(to_question(change));
        ASSERT_TRUE(parsed) << parsed.error().message;
        EXPECT_EQ(*parsed, change);
    }
}

TEST(Change, that_is_none_is_refused) {
    for (const json& question :
         {json{{"verb", "set"}}, json{{"policy", ""}}, json{{"policy", "fast"}},
          json{{"policy", 1}}, json{{"workers", 0}}, json{{"workers", -1}},
          json{{"workers", u64{1} << 32 | 1}}, json{{"workers", "2"}}, json{{"lane_idle_s", 0}},
          json{{"lane_idle_s", lane_idle_max_s + 1}}, json{{"lane_idle_s", u64{1} << 32 | 1}},
          json{{"lane_idle_s", "1"}}, json{{"lane_idle_s", -1}}, json{{"reap_lanes", false}},
          json{{"reap_lanes", 1}}, json{{"policy", "auto"}, {"reap_lanes", "yes"}}}) {
        EXPECT_FALSE(parse_question(question)) << question.dump();
    }
    for (const json& question :
         {json{{"on_error", "retry"}}, json{{"on_error", 1}}, json{{"resume", "yes"}},
          json{{"resume", false}}, json{{"size", "all"}}, json{{"size", -1}},
          json{{"autoclear", "on"}}, json{{"watch_size", 1}}, json{{"read_only", 1}},
          json{{"policy", "auto"}, {"force", true}}, json{{"size", 4096}, {"direct_io", "off"}}}) {
        EXPECT_FALSE(parse_question(question)) << question.dump();
    }
    EXPECT_EQ(check_change(Change{}).error().message,
              "nothing to set: give --policy, --workers, --lane-idle, --reap-lanes, "
              "--backing-file, --direct-io, --read-only, --size, --on-error, --resume, --autoclear "
              "or --watch-size");
}

TEST(Change, of_lanes_is_refused_where_there_are_none) {
    EXPECT_TRUE(may_change_lanes({.dispatching = {.policy = "auto"}}, false, example));
    for (const Change& change : {Change{.lane_idle_s = 1}, Change{.reap_lanes = true}}) {
        EXPECT_TRUE(may_change_lanes(change, true, example));
        const Status refused = may_change_lanes(change, false, example);
        ASSERT_FALSE(refused);
        EXPECT_EQ(refused.error().message,
                  "/dev/ublkb0: has no lanes, its I/O is charged to nobody but the server; attach "
                  "it with --charge issuer, or --charge and a cgroup's path");
    }
}

TEST(Change, of_the_idle_time_reaches_the_lanes_and_the_state) {
    const auto hierarchies = cgroup::Hierarchies::open();
    if (!hierarchies) GTEST_SKIP() << "skipped: " << hierarchies.error().message;
    const backing::TestDir dir;
    const auto image = backing::Backing::open({.path = dir.sparse("disk.img", 4096)});
    ASSERT_TRUE(image) << image.error().message;
    engine::Device device(**image);
    const auto keeper = cgroup::Keeper::create(*hierarchies, **image, device, {});
    ASSERT_TRUE(keeper) << keeper.error().message;
    DeviceState state = example;

    EXPECT_EQ(change_lane_idle({.reap_lanes = true}, keeper->get(), state), LanesChanged{});
    EXPECT_EQ(state, example);
    EXPECT_EQ(change_lane_idle({.lane_idle_s = 5}, keeper->get(), state),
              (LanesChanged{.lane_idle_s = 5, .previous_lane_idle_s = 60}));
    EXPECT_EQ(state.lane_idle_s, 5u);
    EXPECT_EQ((*keeper)->reap(), 0u);
}

TEST(LanesChanged, say_what_is_and_what_was) {
    const auto text = [](const LanesChanged& changed) { return to_text(changed, "/dev/ublkb0"); };
    EXPECT_EQ(text({.lane_idle_s = 5, .previous_lane_idle_s = 60}),
              "/dev/ublkb0: lanes end after 5 s without requests (60 s before)");
    EXPECT_EQ(text({.lane_idle_s = 5, .previous_lane_idle_s = 5}),
              "/dev/ublkb0: lanes end after 5 s without requests, as before");
    EXPECT_EQ(text({.lanes_left = 0}), "/dev/ublkb0: no lanes are left");
    EXPECT_EQ(text({.lanes_left = 1}), "/dev/ublkb0: 1 lane is left because it is busy");
    EXPECT_EQ(text({.lane_idle_s = 5, .previous_lane_idle_s = 60, .lanes_left = 2}),
              "/dev/ublkb0: lanes end after 5 s without requests (60 s before); 2 lanes are left "
              "because they are busy");
}

TEST(LanesChanged, are_found_in_the_answer_that_they_went_into) {
    const LanesChanged both = {.lane_idle_s = 5, .previous_lane_idle_s = 60, .lanes_left = 2};
    json answer = {{"policy", "auto"}};
    add_to(answer, both);
    const Change asked = {.lane_idle_s = 5, .reap_lanes = true};
    EXPECT_EQ(lanes_changed_in(answer, asked), both);
    for (const char* field : {"lane_idle_s", "previous_lane_idle_s", "lanes_left"}) {
        json less = answer;
        less.erase(field);
        EXPECT_FALSE(lanes_changed_in(less, asked)) << field;
    }
    EXPECT_FALSE(lanes_changed_in({{"lanes_left", "many"}}, {.reap_lanes = true}));

    json nothing = json::object();
    add_to(nothing, {});
    EXPECT_EQ(nothing, json::object());
    EXPECT_EQ(lanes_changed_in(nothing, {.dispatching = {.policy = "auto"}}), LanesChanged{});
}

}  // namespace
}  // namespace ringloop::control
