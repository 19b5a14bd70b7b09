#include "control/dispatching.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

#include "backing/test_dir.h"

namespace ringloop::control {
namespace {

using nlohmann::json;

DeviceState example() {
    return {.name = "disk",
            .device = "/dev/ublkb0",
            .backing_file = "/disk.img",
            .queues = 4,
            .depth = 128,
            .policy = "auto"};
}

TEST(Dispatching, takes_the_policys_workers_unless_told_otherwise) {
    DeviceOptions options{.image = "i"};
    EXPECT_EQ(dispatching_of(options, 4).workers, 16u);
    options.policy = "linux-4.0";
    EXPECT_EQ(dispatching_of(options, 1).workers, 512u);
    options.workers = 5;
    EXPECT_EQ(dispatching_of(options, 1).workers, 5u);
    EXPECT_STREQ(dispatching_of(options, 1).policy->name, "linux-4.0");
}

TEST(Dispatching, has_a_worker_for_each_shard) {
    const engine::Dispatching few =
        dispatching_of({.image = "i", .queues = 4, .policy = "linux-4.4"}, 4);
    EXPECT_EQ(workers_of(few), 4u);
    EXPECT_EQ(few.workers_of_shard(), 1u);
    EXPECT_EQ(workers_of(dispatching_of({.image = "i"}, 4)), 16u);
}

TEST(DispatchChange, brings_the_new_policys_own_number_of_workers) {
    const auto after = state_after({.policy = "linux-4.0", .workers = {}}, example());
    ASSERT_TRUE(after);
    EXPECT_EQ(after->policy, "linux-4.0");
    EXPECT_EQ(workers_of(*after), 512u);
    EXPECT_FALSE(after->workers_requested);
    EXPECT_EQ(workers_of(*state_after({.policy = "linux-4.4", .workers = {}}, example())), 4u)
        << "of four queues each has one";
}

TEST(DispatchChange, leaves_the_workers_that_somebody_asked_for) {
    const auto asked = state_after({.policy = "", .workers = 7}, example());
    ASSERT_TRUE(asked);
    EXPECT_EQ(asked->policy, "auto");
    const auto after = state_after({.policy = "linux-4.0", .workers = {}}, *asked);
    ASSERT_TRUE(after);
    EXPECT_EQ(workers_of(*after), 7u);
    EXPECT_EQ(after->workers_requested, 7u);
}

TEST(DispatchChange, to_fewer_workers_than_queues_is_refused_with_the_way_out) {
    const auto after = state_after({.policy = "", .workers = 3}, example());
    ASSERT_FALSE(after);
    EXPECT_EQ(after.error().message,
              "/dev/ublkb0: --workers 3 is less than its 4 queues, and each needs a worker of its "
              "own; use at least --workers 4, or attach it with --queues 3");
    EXPECT_TRUE(state_after({.policy = "", .workers = 4}, example()));
}

TEST(DispatchChange, reaches_the_device_and_the_state) {
    const backing::TestDir dir;
    const auto image = backing::Backing::open({.path = dir.sparse("disk.img", 4096)});
    ASSERT_TRUE(image) << image.error().message;
    engine::Device device(**image);
    ShardThreads nobody;
    DeviceState state = example();
    const auto changed =
        change_dispatching({.policy = "linux-3.19", .workers = 8}, device, nobody, state);
    ASSERT_TRUE(changed) << changed.error().message;
    EXPECT_EQ(*changed, (Dispatched{.policy = "linux-3.19",
                                    .workers = 8,
                                    .previous_policy = "auto",
                                    .previous_workers = 16}));
    EXPECT_STREQ(device.dispatching().policy->name, "linux-3.19");
    EXPECT_EQ(device.dispatching().workers, 8u);
    EXPECT_EQ(device.dispatching().shards, 4u);
    EXPECT_EQ(state.policy, "linux-3.19");

    const DeviceState before = state;
    EXPECT_FALSE(change_dispatching({.policy = "", .workers = 1}, device, nobody, state));
    EXPECT_EQ(state, before);
    EXPECT_EQ(device.dispatching().workers, 8u);
}

TEST(PathFacts, come_from_the_image_the_device_and_all_shards) {
    const backing::TestDir dir;
    const auto image = backing::Backing::open({.path = dir.sparse("disk.img", 1 << 20),
                                               .read_only = true,
                                               .direct_io = backing::DirectIo::off});
    ASSERT_TRUE(image) << image.error().message;
    engine::Device device(**image);
    device.dispatch_by(dispatching_of({.image = "i", .policy = "linux-4.4"}, 2));
    device.note_nowait_unsupported(false, false);
    device.note_nowait_unsupported(true, true);  // of no matter: nothing goes that way
    engine::ShardStats one;
    engine::ShardStats two;
    one.nowait_attempts.add(10);
    two.nowait_attempts.add(20);
    one.nowait_eagain.add(1);
    two.nowait_eagain.add(2);
    two.hint_skips.add(3);
    const engine::ShardStats* shards[] = {&one, &two};

    const engine::PathFacts facts = path_facts(device, shards, false);
    EXPECT_FALSE(facts.block_device);
    EXPECT_FALSE(facts.direct);
    EXPECT_TRUE(facts.read_only);
    EXPECT_FALSE(facts.filesystem.empty());
    EXPECT_TRUE(facts.sparse);
    EXPECT_TRUE(facts.nowait_read);
    EXPECT_FALSE(facts.nowait_write);
    EXPECT_EQ(facts.nowait_attempts, 30u);
    EXPECT_EQ(facts.nowait_eagain, 3u);
    EXPECT_EQ(facts.hint_skips, 3u);
    EXPECT_EQ(facts.workers, 2u);
    EXPECT_EQ(facts.queues, 2u);
    EXPECT_FALSE(facts.charged);
    EXPECT_TRUE(path_facts(device, shards, true).charged);
}

TEST(Dispatched, says_what_is_and_what_was) {
    const Dispatched changed = {
        .policy = "linux-4.4", .workers = 1, .previous_policy = "auto", .previous_workers = 16};
    EXPECT_EQ(to_text(changed, "/dev/ublkb0"),
              "/dev/ublkb0: policy linux-4.4, 1 worker (auto, 16 workers before)");
    const Dispatched same = {
        .policy = "auto", .workers = 16, .previous_policy = "auto", .previous_workers = 16};
    EXPECT_EQ(to_text(same, "/dev/ublkb0"), "/dev/ublkb0: policy auto, 16 workers, as before");
    EXPECT_EQ(to_json(changed, example())["previous_workers"], 16);
}

}  // namespace
}  // namespace ringloop::control
