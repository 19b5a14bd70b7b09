// The counters of a live device at one moment: what `stats` and `top` take differences of, and what
// the metrics are written from. The histograms are whole, because the quantiles of an interval come
// from the difference of two.
#pragma once

#include <array>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "cgroup/keeper.h"
#include "control/state.h"
#include "engine/stats.h"
#include "frontend/nbd/service.h"

namespace ringloop::control {

struct OpCounters {
    u64 requests = 0;
    u64 bytes = 0;
    u64 errors = 0;
    HistogramView latency_ns;
};

struct LaneCounters {
    std::string cgroup;  // its path; "(server)" for the server's own
    std::string state;
    u64 requests = 0;
    u64 bytes_read = 0;
    u64 bytes_written = 0;
    u64 inflight = 0;
    u64 workers = 0;
};

struct Counters {
    i32 pid = 0;              // of the server: with another one, all begins at 0
    u64 at_ns = 0;            // CLOCK_MONOTONIC, of the same host as whoever asks
    u64 inflight = 0;         // requests
    u64 workers_now = 0;      // that transfers may keep busy
    u64 blocking_writes = 0;  // direct writes that are not done
    bool poisoned = false;
    bool stopped = false;  // engine::OnError::stop
    u64 held = 0;          // requests that wait for room
    std::array<OpCounters, engine::op_count> ops;
    // As in engine::ShardStats, of all shards.
    u64 merged = 0;
    u64 operations = 0;
    u64 passes = 0;
    u64 syscalls = 0;
    u64 nowait_attempts = 0;
    u64 nowait_eagain = 0;
    u64 nowait_unsupported = 0;
    u64 hint_skips = 0;
    u64 lane_requests = 0;
    u64 serial_overflow = 0;
    u64 lane_fallbacks = 0;
    std::optional<nbd::ServiceCounts> clients;  // as in LiveState
    std::vector<LaneCounters> lanes;            // the server's own first; empty without lanes

    const OpCounters& of(engine::Op op) const { return ops[static_cast<u32>(op)]; }
    OpCounters& of(engine::Op op) { return ops[static_cast<u32>(op)]; }
};

// What Counters has of the shards: ops, and what is added up.
Counters counters_of(std::span<const engine::ShardStats* const> shards);
// The server's own lane, which all shards have a part of.
LaneCounters root_lane_of(std::span<const engine::ShardStats* const> shards);
LaneCounters lane_counters_of(const cgroup::LaneReport& lane);

nlohmann::json to_json(const Counters& counters);
// Of what a server answered, which may be of another version: what is missing is 0.
// EPROTO: these are no counters.
Result<Counters> parse_counters(const nlohmann::json& object);

}  // namespace ringloop::control
