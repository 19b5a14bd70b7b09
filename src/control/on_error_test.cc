#include "control/on_error.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "backing/test_dir.h"

namespace ringloop::control {
namespace {

using engine::OnError;
using nlohmann::json;

const DeviceState example = {.name = "disk", .device = "/dev/ublkb0"};

TEST(OnErrorChange, is_refused_where_a_driver_would_not_wait) {
    const OnErrorChange pause = {.on_error = OnError::pause};
    EXPECT_TRUE(may_change_on_error(pause, false, example));
    DeviceState several = example;
    several.transport = TransportChoice::nbd;
    several.queues = 2;
    const Status refused = may_change_on_error(pause, false, several);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().message,
              "/dev/ublkb0: --on-error pause needs --queues 1 with the kernel's nbd driver, which "
              "sends slow requests again on another of its connections");
    EXPECT_TRUE(may_change_on_error({.on_error = OnError::stop}, false, several));
    several.queues = 1;
    EXPECT_TRUE(may_change_on_error(pause, false, several));
    DeviceState users = example;
    users.unprivileged = true;
    const Status killed = may_change_on_error(pause, false, users);
    ASSERT_FALSE(killed);
    EXPECT_EQ(killed.error().message,
              "/dev/ublkb0: --on-error pause: the kernel kills the server of an ordinary user's "
              "ublk device when a request waits for 30 seconds; use --transport socket");
    EXPECT_TRUE(may_change_on_error({.on_error = OnError::stop}, false, users));
}

TEST(OnErrorChange, does_not_go_on_after_a_failed_sync) {
    EXPECT_FALSE(may_change_on_error({.resume = true}, true, example));
    EXPECT_TRUE(may_change_on_error({.resume = true}, false, example));
    EXPECT_TRUE(may_change_on_error({.on_error = OnError::report}, true, example));
}

TEST(OnErrorChange, is_told_with_what_was_before) {
    const OnErrorChange both = {.on_error = OnError::pause, .resume = true};
    DeviceState before = example;
    DeviceState after = example;
    after.on_error = OnError::pause;
    const auto text = [&](const OnErrorChange& change) {
        json answer = json::object();
        add_on_error_to(answer, change, before, after);
        return on_error_text(answer, "/dev/ublkb0");
    };
    EXPECT_EQ(text({}), "");
    EXPECT_EQ(text(both),
              "/dev/ublkb0: on errors: pause now, report before\n"
              "/dev/ublkb0: goes on; nothing was wrong\n");
    before.on_error = OnError::pause;
    before.paused = "1 request waits";
    EXPECT_EQ(text(both),
              "/dev/ublkb0: on errors: pause, as before\n"
              "/dev/ublkb0: what waited for room is tried again\n");
    before.stopped = "a write failed";
    EXPECT_EQ(text({.resume = true}), "/dev/ublkb0: goes on; was stopped\n");
    EXPECT_EQ(on_error_text({{"on_error", 1}, {"previous_on_error", false}}, "x"), "");
}

TEST(StopAndPause, are_taken_over_and_kept_from_the_server_before) {
    const backing::TestDir dir;
    const auto image = backing::Backing::open({.path = dir.sparse("disk.img", 1 * mib)});
    ASSERT_TRUE(image) << image.error().message;
    engine::Device device(**image);
    DeviceState state = example;
    EXPECT_FALSE(note_stop_and_pause(device, state));

    device.note_held(engine::Op::write, Errno::no_space);
    device.note_held(engine::Op::write_zeroes, Errno::quota);
    EXPECT_TRUE(note_stop_and_pause(device, state));
    EXPECT_TRUE(
        state.paused.starts_with("2 requests wait for room on the image's file system: "
                                 "the first was a write (ENOSPC"))
        << state.paused;
    device.note_released();
    EXPECT_FALSE(note_stop_and_pause(device, state)) << "the number alone is no news";
    EXPECT_TRUE(state.paused.starts_with("1 request waits")) << state.paused;
    device.note_released();
    EXPECT_TRUE(note_stop_and_pause(device, state));
    EXPECT_EQ(state.paused, "");

    state.stopped = "what the server before has seen";
    device.inherit_stop();
    EXPECT_FALSE(note_stop_and_pause(device, state));
    EXPECT_EQ(state.stopped, "what the server before has seen");
    device.go_on();
    EXPECT_TRUE(note_stop_and_pause(device, state));
    EXPECT_EQ(state.stopped, "");
    device.set_on_error(OnError::stop);
    device.note_failure(engine::Op::flush, Errno::io);
    EXPECT_TRUE(note_stop_and_pause(device, state));
    EXPECT_TRUE(state.stopped.starts_with("the first change that failed was a flush (EIO"))
        << state.stopped;
}

}  // namespace
}  // namespace ringloop::control
