// What `status` says of a live device: its state, its counters and how well it is protected.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>

#include "cgroup/keeper.h"
#include "control/harden.h"
#include "control/state.h"
#include "engine/stats.h"
#include "frontend/nbd/service.h"

namespace ringloop::control {

// {requests, bytes, errors, latency_us {p50,p99,p999,max}} for each operation, inflight, and the
// other counters of engine::ShardStats, added up over all shards.
nlohmann::json stats_json(std::span<const engine::ShardStats* const> shards);

struct LiveState {
    DeviceState state;
    std::string policy_reason;  // which path its I/O takes and why
    Hardening hardening;
    bool poisoned = false;
    u64 image_errors = 0;                       // requests that the image did not carry out
    u64 held_requests = 0;                      // that wait for room
    u32 blocking_writes = 0;                    // engine::Device
    u64 context_switches = 0;                   // of the process, since its start
    std::optional<nbd::ServiceCounts> clients;  // of NBD, those of the kernel's driver left out
    std::optional<cgroup::KeeperReport> lanes;  // nullopt: I/O is charged to nobody but the server
    std::string charge_shortcoming;             // why some is, though it should not be
};
// With lanes: `lanes`, the server's own first, and their counters. Without, none of these fields:
// what the server did is what `stats` says.
nlohmann::json status_json(const LiveState& live,
                           std::span<const engine::ShardStats* const> shards);

}  // namespace ringloop::control
