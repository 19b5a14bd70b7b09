#include "control/status.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace ringloop::control {
namespace {

using nlohmann::json;

TEST(Stats, of_all_shards_are_added_up) {
    engine::ShardStats one;
    engine::ShardStats two;
    one.of(engine::Op::read).requests.add(3);
    two.of(engine::Op::read).requests.add(4);
    one.of(engine::Op::read).bytes.add(4096);
    two.of(engine::Op::write).errors.add(1);
    one.merged.add(5);
    two.merged.add(6);
    one.nowait_attempts.add(100);
    two.nowait_attempts.add(1);
    one.nowait_eagain.add(2);
    two.workers_now.set(3);
    one.workers_now.set(1);
    two.workers_max_seen.raise_to(4);
    two.syscalls.add(9);
    one.started.add(10);
    one.finished.add(7);
    two.started.add(1);
    const engine::ShardStats* shards[] = {&one, &two};

    const json stats = stats_json(shards);
    EXPECT_EQ(stats["read"]["requests"], 7);
    EXPECT_EQ(stats["read"]["bytes"], 4096);
    EXPECT_EQ(stats["read"]["errors"], 0);
    EXPECT_EQ(stats["write"]["errors"], 1);
    EXPECT_EQ(stats["merged"], 11);
    EXPECT_EQ(stats["nowait_attempts"], 101);
    EXPECT_EQ(stats["nowait_eagain"], 2);
    EXPECT_EQ(stats["workers_now"], 4);
    EXPECT_EQ(stats["workers_max_seen"], 4);
    EXPECT_EQ(stats["syscalls"], 9);
    EXPECT_EQ(stats["inflight"], 4);
}

TEST(Stats, have_every_operation_with_its_latencies_before_the_first_request) {
    const json stats = stats_json({});
    for (const char* op : {"read", "write", "flush", "discard", "write_zeroes", "prefetch"}) {
        ASSERT_TRUE(stats.contains(op)) << op;
        for (const char* quantile : {"p50", "p99", "p999", "max"}) {
            EXPECT_EQ(stats[op]["latency_us"][quantile], 0.0) << op;
        }
    }
    EXPECT_EQ(stats["inflight"], 0);
}

TEST(Stats, take_quantiles_over_all_shards_in_microseconds) {
    engine::ShardStats one;
    engine::ShardStats two;
    for (int i = 0; i < 99; ++i) one.of(engine::Op::flush).latency_ns.record(10'000);
    two.of(engine::Op::flush).latency_ns.record(1'000'000);
    const engine::ShardStats* shards[] = {&one, &two};
    const json latency = stats_json(shards)["flush"]["latency_us"];
    EXPECT_GE(latency["p50"].get<double>(), 10.0);
    EXPECT_LE(latency["p50"].get<double>(), 11.3);  // buckets are an eighth of an octave wide
    EXPECT_EQ(latency["max"], 1000.0);
    EXPECT_LT(latency["p99"].get<double>(), 12.0);
    EXPECT_GE(latency["p999"].get<double>(), 900.0);
}

TEST(Status, has_the_fields_that_scripts_rely_on) {
    const DeviceState state{.name = "n",
                            .device = "/dev/ublkb0",
                            .backing_file = "/i",
                            .direct_io = false,
                            .direct_io_reason = "why",
                            .policy = "auto",
                            .phase = Phase::live};
    const Hardening hardening{.io_flusher = {false, "not permitted"}, .memory_locked = {true, ""}};
    const json status = status_json({.state = state,
                                     .policy_reason = "because",
                                     .hardening = hardening,
                                     .blocking_writes = 2,
                                     .context_switches = 3,
                                     .clients = {}},
                                    {});
    for (const char* field :
         {"name", "device", "transport", "backing_file", "size_bytes", "offset_bytes",
          "sizelimit_bytes", "sector_size", "read_only", "direct_io", "direct_io_reason", "queues",
          "depth", "policy", "policy_reason", "workers", "pid", "state", "stats"}) {
        EXPECT_TRUE(status.contains(field)) << field;
    }
    for (const char* counter :
         {"merged", "passes", "syscalls", "nowait_attempts", "nowait_eagain", "nowait_unsupported",
          "hint_skips", "lane_requests", "serial_overflow", "workers_now", "workers_max_seen"}) {
        EXPECT_EQ(status["stats"][counter], 0) << counter;
    }
    EXPECT_EQ(status["stats"]["blocking_writes"], 2);
    EXPECT_EQ(status["stats"]["context_switches"], 3);
    EXPECT_EQ(status["state"], "live");
    EXPECT_EQ(status["io_flusher"], false);
    EXPECT_EQ(status["io_flusher_reason"], "not permitted");
    EXPECT_EQ(status["memory_locked"], true);
    EXPECT_FALSE(status.contains("memory_locked_reason"));
}

}  // namespace
}  // namespace ringloop::control
