#include "control/status.h"

#include <array>
#include <cmath>
#include <nlohmann/json.hpp>

#include "control/counters.h"

namespace ringloop::control {
namespace {

using nlohmann::json;

// Microseconds with one digit behind the point: what a clock read once a pass can tell.
double to_us(u64 ns) { return std::round(static_cast<double>(ns) / 100.0) / 10.0; }

json op_json(engine::Op op, std::span<const engine::ShardStats* const> shards) {
    u64 requests = 0;
    u64 bytes = 0;
    u64 errors = 0;
    HistogramView latency;
    for (const engine::ShardStats* shard : shards) {
        const engine::OpStats& stats = shard->of(op);
        requests += stats.requests.get();
        bytes += stats.bytes.get();
        errors += stats.errors.get();
        stats.latency_ns.add_to(latency);
    }
    return {{"requests", requests},
            {"bytes", bytes},
            {"errors", errors},
            {"latency_us",
             {{"p50", to_us(latency.quantile(0.5))},
              {"p99", to_us(latency.quantile(0.99))},
              {"p999", to_us(latency.quantile(0.999))},
              {"max", to_us(latency.max)}}}};
}

using engine::ShardStats;

// What is simply added up.
struct Sum {
    const char* name;
    Counter ShardStats::* counter;
};
constexpr std::array sums = {
    Sum{"merged", &ShardStats::merged},
    Sum{"operations", &ShardStats::operations},
    Sum{"passes", &ShardStats::passes},
    Sum{"syscalls", &ShardStats::syscalls},
    Sum{"nowait_attempts", &ShardStats::nowait_attempts},
    Sum{"nowait_eagain", &ShardStats::nowait_eagain},
    Sum{"nowait_unsupported", &ShardStats::nowait_unsupported},
    Sum{"hint_skips", &ShardStats::hint_skips},
    Sum{"lane_requests", &ShardStats::lane_requests},
    Sum{"serial_overflow", &ShardStats::serial_overflow},
    Sum{"workers_max_seen", &ShardStats::workers_max_seen},
};

void add_protection(json& object, const char* field, const Protection& protection) {
    object[field] = protection.on;
    if (!protection.on) object[std::string(field) + "_reason"] = protection.reason;
}

void add_sandbox(json& object, const Confinement& sandbox) {
    object["capabilities_kept"] = sandbox.kept;
    add_protection(object, "capabilities_dropped", sandbox.capabilities);
    add_protection(object, "landlock", sandbox.landlock);
    add_protection(object, "seccomp", sandbox.seccomp);
    add_protection(object, "rings_restricted", sandbox.rings);
    add_protection(object, "opener", sandbox.opener);
}

// The server's own, which all shards have a part of, in the form of the others.
json root_lane_json(const LiveState& live, std::span<const ShardStats* const> shards) {
    const LaneCounters lane = root_lane_of(shards);
    return {{"cgroup", lane.cgroup},
            {"state", lane.state},
            {"pid", live.state.pid},
            {"requests", lane.requests},
            {"inflight", lane.inflight},
            {"bytes_read", lane.bytes_read},
            {"bytes_written", lane.bytes_written},
            {"workers", lane.workers},
            {"idle_s", nullptr}};
}

json lane_json(const cgroup::LaneReport& lane) {
    return {{"cgroup", lane.cgroup},
            {"state", lane.state},
            {"pid", lane.pid},
            {"requests", lane.requests},
            {"inflight", lane.inflight},
            {"bytes_read", lane.bytes_read},
            {"bytes_written", lane.bytes_written},
            {"workers", lane.workers},
            {"idle_s", lane.idle_s}};
}

void add_lanes(json& object, const LiveState& live, std::span<const ShardStats* const> shards) {
    if (!live.charge_shortcoming.empty()) object["charge_reason"] = live.charge_shortcoming;
    if (!live.lanes) return;
    const cgroup::KeeperReport& report = *live.lanes;
    json& lanes = object["lanes"] = json::array({root_lane_json(live, shards)});
    for (const cgroup::LaneReport& lane : report.lanes) lanes.push_back(lane_json(lane));
    u64 fallbacks = report.refusals;
    for (const ShardStats* shard : shards) fallbacks += shard->lane_fallbacks.get();
    object["lanes_started"] = report.started;
    object["lanes_reaped"] = report.reaped;
    object["lanes_lost"] = report.lost;
    object["lanes_refused"] = report.refused;
    object["lane_fallbacks"] = fallbacks;
    if (!report.reason.empty()) object["lane_trouble"] = report.reason;
}

}  // namespace

json stats_json(std::span<const engine::ShardStats* const> shards) {
    json stats = json::object();
    for (u32 i = 0; i < engine::op_count; ++i) {
        const auto op = static_cast<engine::Op>(i);
        stats[engine::name_of(op)] = op_json(op, shards);
    }
    for (const Sum& sum : sums) {
        u64 value = 0;
        for (const ShardStats* shard : shards) value += (shard->*sum.counter).get();
        stats[sum.name] = value;
    }
    u64 workers_now = 0;
    u64 inflight = 0;
    for (const ShardStats* shard : shards) {
        workers_now += shard->workers_now.get();
        // Finished first: a request that ends in between must not make the difference negative.
        const u64 finished = shard->finished.get();
        inflight += shard->started.get() - finished;
    }
    stats["workers_now"] = workers_now;
    stats["inflight"] = inflight;
    return stats;
}

json status_json(const LiveState& live, std::span<const engine::ShardStats* const> shards) {
    json object = to_json(live.state, to_text(live.state.phase));
    object["policy_reason"] = live.policy_reason;
    object["degraded"] = !live.state.degraded.empty();
    object["image_errors"] = live.image_errors;
    object["stopped"] = !live.state.stopped.empty();
    object["paused"] = !live.state.paused.empty();
    object["held_requests"] = live.held_requests;
    object["poisoned"] = live.poisoned;
    add_protection(object, "io_flusher", live.hardening.io_flusher);
    add_protection(object, "memory_locked", live.hardening.memory_locked);
    add_protection(object, "oom_protected", live.hardening.oom_protected);
    add_protection(object, "private_mounts", live.hardening.private_mounts);
    add_sandbox(object, live.hardening.sandbox);
    if (live.clients) {
        object["connections"] = live.clients->connections;
        object["connections_accepted"] = live.clients->accepted;
        object["handshakes_failed"] = live.clients->handshakes_failed;
        object["connections_broken"] = live.clients->broken;
    }
    add_lanes(object, live, shards);
    json& stats = object["stats"] = stats_json(shards);
    stats["blocking_writes"] = live.blocking_writes;
    stats["context_switches"] = live.context_switches;
    return object;
}

}  // namespace ringloop::control
