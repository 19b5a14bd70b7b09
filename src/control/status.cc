#include "control/status.h"

#include <cmath>
#include <nlohmann/json.hpp>

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

void add_protection(json& object, const char* field, const Protection& protection) {
    object[field] = protection.on;
    if (!protection.on) object[std::string(field) + "_reason"] = protection.reason;
}

}  // namespace

json stats_json(std::span<const engine::ShardStats* const> shards) {
    json stats = json::object();
    for (u32 i = 0; i < engine::op_count; ++i) {
        const auto op = static_cast<engine::Op>(i);
        stats[engine::name_of(op)] = op_json(op, shards);
    }
    u64 merged = 0;
    u64 operations = 0;
    u64 passes = 0;
    u64 inflight = 0;
    for (const engine::ShardStats* shard : shards) {
        merged += shard->merged.get();
        operations += shard->operations.get();
        passes += shard->passes.get();
        // Finished first: a request that ends in between must not make the difference negative.
        const u64 finished = shard->finished.get();
        inflight += shard->started.get() - finished;
    }
    stats["merged"] = merged;
    stats["operations"] = operations;
    stats["passes"] = passes;
    stats["inflight"] = inflight;
    return stats;
}

json status_json(const LiveState& live, std::span<const engine::ShardStats* const> shards) {
    json object = to_json(live.state, to_text(live.state.phase));
    object["poisoned"] = live.poisoned;
    add_protection(object, "io_flusher", live.hardening.io_flusher);
    add_protection(object, "memory_locked", live.hardening.memory_locked);
    add_protection(object, "oom_protected", live.hardening.oom_protected);
    add_protection(object, "private_mounts", live.hardening.private_mounts);
    if (live.clients) {
        object["connections"] = live.clients->connections;
        object["connections_accepted"] = live.clients->accepted;
        object["handshakes_failed"] = live.clients->handshakes_failed;
        object["connections_broken"] = live.clients->broken;
    }
    object["stats"] = stats_json(shards);
    return object;
}

}  // namespace ringloop::control
