#include "control/counters.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace ringloop::control {
namespace {

using nlohmann::json;

Counters example() {
    engine::ShardStats one;
    engine::ShardStats two;
    one.of(engine::Op::read).requests.add(3);
    two.of(engine::Op::read).requests.add(4);
    one.of(engine::Op::read).bytes.add(4096);
    two.of(engine::Op::write).errors.add(1);
    one.of(engine::Op::read).latency_ns.record(10'000);
    two.of(engine::Op::read).latency_ns.record(20'000'000);
    one.merged.add(5);
    two.merged.add(6);
    two.lane_fallbacks.add(2);
    one.workers_now.set(1);
    two.workers_now.set(2);
    one.started.add(10);
    one.finished.add(7);
    const engine::ShardStats* shards[] = {&one, &two};
    Counters counters = counters_of(shards);
    counters.pid = 7;
    counters.at_ns = 8;
    return counters;
}

TEST(Counters, are_those_of_all_shards) {
    const Counters counters = example();
    EXPECT_EQ(counters.of(engine::Op::read).requests, 7u);
    EXPECT_EQ(counters.of(engine::Op::read).bytes, 4096u);
    EXPECT_EQ(counters.of(engine::Op::write).errors, 1u);
    EXPECT_EQ(counters.of(engine::Op::read).latency_ns.total(), 2u);
    EXPECT_EQ(counters.merged, 11u);
    EXPECT_EQ(counters.lane_fallbacks, 2u);
    EXPECT_EQ(counters.workers_now, 3u);
    EXPECT_EQ(counters.inflight, 3u);
}

TEST(Counters, survive_the_control_socket) {
    Counters counters = example();
    counters.poisoned = counters.stopped = true;
    counters.held = 4;
    counters.blocking_writes = 9;
    counters.clients =
        nbd::ServiceCounts{.connections = 1, .accepted = 2, .handshakes_failed = 3, .broken = 4};
    counters.lanes = {{.cgroup = "/a",
                       .state = "busy",
                       .requests = 1,
                       .bytes_read = 2,
                       .bytes_written = 3,
                       .inflight = 4,
                       .workers = 5}};
    const auto read = parse_counters(*parse_json(dump_json(to_json(counters))));
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(to_json(*read), to_json(counters));
    EXPECT_EQ(read->of(engine::Op::read).latency_ns.counts,
              counters.of(engine::Op::read).latency_ns.counts);
    EXPECT_EQ(read->of(engine::Op::read).latency_ns.max, 20'000'000u);
    EXPECT_EQ(read->lanes.at(0).cgroup, "/a");
    EXPECT_EQ(read->clients->broken, 4u);
}

TEST(Counters, of_another_version_are_read_as_far_as_they_go) {
    for (const char* text : {"[]", "{}", R"({"ops":{}})", R"({"ops":[],"at_ns":1})"}) {
        EXPECT_FALSE(parse_counters(*parse_json(text))) << text;
    }
    const auto read = parse_counters(*parse_json(
        R"({"at_ns":1,"merged":"many","poisoned":1,"lanes":[1,{"cgroup":2}],"ops":{"read":
           {"requests":-1,"bytes":2,"latency_buckets":[0,1,99999,1,"x",1,3]},"write":3}})"));
    ASSERT_TRUE(read) << read.error().message;
    EXPECT_EQ(read->merged, 0u);
    EXPECT_FALSE(read->poisoned);
    EXPECT_EQ(read->of(engine::Op::read).requests, 0u);
    EXPECT_EQ(read->of(engine::Op::read).bytes, 2u);
    EXPECT_EQ(read->of(engine::Op::read).latency_ns.total(), 1u);
    EXPECT_EQ(read->lanes.size(), 1u);
    EXPECT_FALSE(read->clients);
}

// The longest that a server without lanes can say.
TEST(Counters, fit_into_one_answer_with_every_bucket_in_use) {
    Counters counters = example();
    for (OpCounters& op : counters.ops) op.latency_ns.counts.fill(999'999'999'999);
    EXPECT_LT(dump_json(to_json(counters)).size(), 64u * 1024);
}

}  // namespace
}  // namespace ringloop::control
