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

TEST(Status, shows_the_servers_own_lane_first_and_then_those_of_cgroups) {
    engine::ShardStats one;
    engine::ShardStats two;
    one.root_lane.started.add(5);
    one.root_lane.finished.add(3);
    two.root_lane.finished.add(1);
    two.root_lane.started.add(1);
    one.root_lane.bytes_read.add(4096);
    two.root_lane.bytes_written.add(512);
    one.root_lane.workers_now.set(1);
    two.root_lane.workers_now.set(2);
    one.lane_fallbacks.add(3);
    two.lane_fallbacks.add(4);
    const engine::ShardStats* shards[] = {&one, &two};
    const DeviceState state{.policy = "auto", .charge = "issuer", .pid = 7};
    const Hardening hardening;
    LiveState live{.state = state, .policy_reason = "", .hardening = hardening, .clients = {}};
    live.lanes = cgroup::KeeperReport{.lanes = {{.cgroup = "/tenants/a",
                                                 .state = "busy",
                                                 .pid = 8,
                                                 .requests = 10,
                                                 .bytes_read = 20,
                                                 .bytes_written = 30,
                                                 .inflight = 40,
                                                 .workers = 50,
                                                 .idle_s = 60}},
                                      .started = 1,
                                      .reaped = 2,
                                      .lost = 3,
                                      .refused = 4,
                                      .refusals = 5,
                                      .reason = "no room"};

    const json status = status_json(live, shards);
    EXPECT_EQ(status["charge"], "issuer");
    EXPECT_EQ(status["lanes"], json::array({{{"cgroup", "(server)"},
                                             {"state", "root"},
                                             {"pid", 7},
                                             {"requests", 4},
                                             {"inflight", 2},
                                             {"bytes_read", 4096},
                                             {"bytes_written", 512},
                                             {"workers", 3},
                                             {"idle_s", nullptr}},
                                            {{"cgroup", "/tenants/a"},
                                             {"state", "busy"},
                                             {"pid", 8},
                                             {"requests", 10},
                                             {"inflight", 40},
                                             {"bytes_read", 20},
                                             {"bytes_written", 30},
                                             {"workers", 50},
                                             {"idle_s", 60}}}));
    EXPECT_EQ(status["lanes_started"], 1);
    EXPECT_EQ(status["lanes_reaped"], 2);
    EXPECT_EQ(status["lanes_lost"], 3);
    EXPECT_EQ(status["lanes_refused"], 4);
    EXPECT_EQ(status["lane_fallbacks"], 12);
    EXPECT_EQ(status["lane_trouble"], "no room");

    live.lanes->reason.clear();
    EXPECT_FALSE(status_json(live, shards).contains("lane_trouble"));
    EXPECT_FALSE(status_json(live, shards).contains("charge_reason"));
    live.charge_shortcoming = "no BTF";
    EXPECT_EQ(status_json(live, shards)["charge_reason"], "no BTF");
}

TEST(Status, has_no_lanes_where_nobody_is_charged) {
    const DeviceState state{.policy = "auto"};
    const Hardening hardening;
    const json status = status_json(
        {.state = state, .policy_reason = "", .hardening = hardening, .clients = {}}, {});
    EXPECT_EQ(status["charge"], "off");
    for (const char* field : {"lanes", "lanes_started", "lanes_reaped", "lanes_lost",
                              "lanes_refused", "lane_fallbacks", "lane_trouble"}) {
        EXPECT_FALSE(status.contains(field)) << field;
    }
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
    for (const char* field : {"name",
                              "device",
                              "transport",
                              "backing_file",
                              "size_bytes",
                              "offset_bytes",
                              "sizelimit_bytes",
                              "sector_size",
                              "read_only",
                              "direct_io",
                              "direct_io_reason",
                              "queues",
                              "depth",
                              "policy",
                              "policy_reason",
                              "workers",
                              "charge",
                              "lane_idle_s",
                              "pid",
                              "state",
                              "stats"}) {
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
