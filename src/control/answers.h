// What the server of a live device answers to what it is asked on its control socket.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "backing/backing.h"
#include "cgroup/keeper.h"
#include "control/counters.h"
#include "control/harden.h"
#include "control/runtime_dir.h"
#include "control/shard_threads.h"
#include "control/state.h"
#include "control/transports.h"
#include "control/upkeep.h"
#include "engine/device.h"

namespace ringloop::control {

// Its parts, of the server, between bring_up and stop.
struct LiveDevice {
    const RuntimeDir& directory;
    const Hardening& hardening;
    backing::Backing& backing;
    engine::Device& device;
    Transports& transports;
    ShardThreads& shards;
    Upkeep& upkeep;
    DeviceState& state;                // what the state file says; both change together
    cgroup::Keeper* keeper = nullptr;  // of its lanes; nullptr: I/O is charged to nobody else
    std::string charge_shortcoming{};  // why some is not, though it should be; empty otherwise
};

// Control thread.
Counters counters_now(const LiveDevice& live);

// Notes in the state file, for whoever looks at it and whoever recovers the device, what has gone
// wrong: a failed sync, or an image that is not what it was. Control thread. How many requests have
// failed because of the latter.
u64 note_trouble(const LiveDevice& live);

// Control thread; a change blocks for the time that requests in flight take, with a bound. nullopt
// for `stop`, which is answered at the end.
// `fd`: what came with the question, if any.
std::optional<std::string> answer_to(std::string_view question, const LiveDevice& live,
                                     int fd = -1);

}  // namespace ringloop::control
