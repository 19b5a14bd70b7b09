// What becomes of a device when its image fails: the choice (engine/on_error.h), its change while
// the device serves, and what is told of one that has stopped or waits for room.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "control/shard_threads.h"
#include "control/state.h"
#include "engine/device.h"

namespace ringloop::control {

// What somebody wants.
struct OnErrorChange {
    std::optional<engine::OnError> on_error{};  // not given: as it is
    bool resume = false;  // a device that has stopped takes changes; what waits is tried again, now

    bool any() const { return on_error || resume; }
    bool operator==(const OnErrorChange&) const = default;
};

// Into a question, and back: whoever asks may have sent anything.
void ask_for(nlohmann::json& question, const OnErrorChange& change);
Result<OnErrorChange> on_error_change_in(const nlohmann::json& question);

// The error is a change that this device cannot have.
Status may_change_on_error(const OnErrorChange& change, bool poisoned, const DeviceState& state);

// Control thread, after may_change_on_error and all other changes. `state` is the caller's to
// write.
void change_on_error(const OnErrorChange& change, engine::Device& device, ShardThreads& shards,
                     DeviceState& state);

// What has become of it, of what was asked for. `before` and `after` it.
void add_on_error_to(nlohmann::json& answer, const OnErrorChange& change, const DeviceState& before,
                     const DeviceState& after);
// "/dev/ublkb0: on errors it pauses now, reports before", a line for each; "" where an older server
// has answered.
std::string on_error_text(const nlohmann::json& answer, const std::string& device);

// Takes over what the device says of itself by now. True: whether it has stopped, or is paused, is
// not what it was.
bool note_stop_and_pause(const engine::Device& device, DeviceState& state);

}  // namespace ringloop::control
