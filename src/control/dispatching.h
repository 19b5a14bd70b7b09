// By which policy a device dispatches, with how many workers, and the change of both while it
// serves.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <span>
#include <string>

#include "control/shard_threads.h"
#include "control/state.h"
#include "engine/device.h"

namespace ringloop::control {

// Of checked options. `shards` is what the device has in the end, as the kernel clamped it.
engine::Dispatching dispatching_of(const DeviceOptions& options, u32 shards);

// How many workers the device has at most: one for each shard, though its policy may have fewer.
u32 workers_of(const engine::Dispatching& dispatching);

// What somebody wants changed.
struct DispatchChange {
    std::string policy;  // empty: as it is
    // Not given: what was asked for before; if nothing was, the policy's own.
    std::optional<u32> workers;

    bool operator==(const DispatchChange&) const = default;
};

// What can be known to be wrong without asking the device. No change at all is not.
Status check_change(const DispatchChange& change);

struct Dispatched {
    std::string policy;
    u32 workers = 0;
    std::string previous_policy;
    u32 previous_workers = 0;

    bool operator==(const Dispatched&) const = default;
};

// The same of a device of which only the state is known.
u32 workers_of(const DeviceState& state);

// What `state` would say after the change: policy and workers_requested. The error is a
// change that the device cannot have.
Result<DeviceState> state_after(const DispatchChange& change, const DeviceState& state);

// Control thread, between bring_up and stop; blocks for the time that requests in flight take, with
// a bound. After an error nothing is changed; `state` is the caller's to write.
Result<Dispatched> change_dispatching(const DispatchChange& change, engine::Device& device,
                                      ShardThreads& shards, DeviceState& state);

// "/dev/ublkb0: policy linux-4.4, 1 worker (auto, 16 workers before)", for people.
std::string to_text(const Dispatched& dispatched, const std::string& device);
nlohmann::json to_json(const Dispatched& dispatched, const DeviceState& state);

// What is known of the way that the device's I/O takes, for engine::explain. `charged`: it has
// lanes for other cgroups.
engine::PathFacts path_facts(const engine::Device& device,
                             std::span<const engine::ShardStats* const> shards, bool charged);

}  // namespace ringloop::control
