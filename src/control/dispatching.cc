#include "control/dispatching.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/assert.h"

namespace ringloop::control {
namespace {

using nlohmann::json;

engine::Dispatching dispatching_of(const DeviceState& state) {
    return dispatching_of(recover_options(state), state.queues);
}

}  // namespace

engine::Dispatching dispatching_of(const DeviceOptions& options, u32 shards) {
    const engine::Policy& policy = policy_of(options);
    return {
        .policy = &policy, .workers = options.workers.value_or(policy.workers), .shards = shards};
}

u32 workers_of(const engine::Dispatching& dispatching) {
    return std::max(dispatching.workers, dispatching.shards);
}

u32 workers_of(const DeviceState& state) { return workers_of(dispatching_of(state)); }

Status check_change(const DispatchChange& change) {
    if (!change.policy.empty()) {
        const auto policy = engine::find_policy(change.policy);
        if (!policy) return std::unexpected(policy.error());
    }
    return change.workers ? check_workers(*change.workers) : Status();
}

Result<DeviceState> state_after(const DispatchChange& change, const DeviceState& state) {
    if (change.workers && *change.workers < state.queues) {
        return fail(EINVAL,
                    "{}: --workers {} is less than its {} queues, and each needs a worker of its "
                    "own; use at least --workers {}, or attach it with --queues {}",
                    state.device, *change.workers, state.queues, state.queues, *change.workers);
    }
    DeviceState after = state;
    if (!change.policy.empty()) after.policy = change.policy;
    if (change.workers) after.workers_requested = change.workers;
    return after;
}

Result<Dispatched> change_dispatching(const DispatchChange& change, engine::Device& device,
                                      ShardThreads& shards, DeviceState& state) {
    auto after = state_after(change, state);
    if (!after) return std::unexpected(std::move(after).error());
    const engine::Dispatching wanted = dispatching_of(*after);
    if (wanted != device.dispatching()) {
        TRY(shards.while_frozen(state.device, "set", [&]() -> Status {
            device.dispatch_by(wanted);
            return {};
        }));
    }
    const Dispatched dispatched = {.policy = after->policy,
                                   .workers = workers_of(*after),
                                   .previous_policy = state.policy,
                                   .previous_workers = workers_of(state)};
    state = std::move(*after);
    return dispatched;
}

std::string to_text(const Dispatched& dispatched, const std::string& device) {
    const std::string now = fmt::format("{}: policy {}, {}", device, dispatched.policy,
                                        engine::workers_text(dispatched.workers));
    const bool same = dispatched.policy == dispatched.previous_policy &&
                      dispatched.workers == dispatched.previous_workers;
    if (same) return now + ", as before";
    return fmt::format("{} ({}, {} before)", now, dispatched.previous_policy,
                       engine::workers_text(dispatched.previous_workers));
}

json to_json(const Dispatched& dispatched, const DeviceState& state) {
    return {{"name", state.name},
            {"device", state.device},
            {"policy", dispatched.policy},
            {"workers", dispatched.workers},
            {"previous_policy", dispatched.previous_policy},
            {"previous_workers", dispatched.previous_workers}};
}

engine::PathFacts path_facts(const engine::Device& device,
                             std::span<const engine::ShardStats* const> shards, bool charged) {
    const backing::Geometry& shape = device.geometry();
    const bool direct = device.backing().direct_now();
    engine::PathFacts facts = {.block_device = shape.block_device,
                               .direct = direct,
                               .read_only = shape.read_only,
                               .filesystem = shape.filesystem,
                               .compressing = shape.compressing,
                               .sparse = shape.sparse,
                               .nowait_read = device.nowait_supported(direct, true),
                               .nowait_write = device.nowait_supported(direct, false),
                               .workers = workers_of(device.dispatching()),
                               .queues = device.dispatching().shards,
                               .charged = charged};
    for (const engine::ShardStats* shard : shards) {
        // What would have blocked first: it may not become more than what was tried.
        facts.nowait_eagain += shard->nowait_eagain.get();
        facts.nowait_attempts += shard->nowait_attempts.get();
        facts.hint_skips += shard->hint_skips.get();
    }
    return facts;
}

}  // namespace ringloop::control
