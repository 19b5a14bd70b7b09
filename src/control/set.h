// What `ringloop set` changes of a device in use: how it dispatches (control/dispatching.h), its
// image (control/image_change.h), its size (control/resize.h), what becomes of it when that fails
// (control/on_error.h), what is looked after (control/upkeep_change.h), and its lanes.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "cgroup/keeper.h"
#include "control/dispatching.h"
#include "control/image_change.h"
#include "control/on_error.h"
#include "control/state.h"
#include "control/upkeep_change.h"

namespace ringloop::control {

// What somebody wants.
struct Change {
    DispatchChange dispatching;
    std::optional<u32> lane_idle_s;  // not given: as it is
    bool reap_lanes = false;         // end the lanes that have nothing in flight, now
    ImageWanted image{};
    OnErrorChange on_error{};
    UpkeepChange upkeep{};
    bool resize = false;                   // to what the image has now, or to
    std::optional<u64> sizelimit_bytes{};  // another size limit; 0: none

    bool of_lanes() const { return lane_idle_s || reap_lanes; }
    bool operator==(const Change&) const = default;
};

// What can be known to be wrong without asking the device; nothing wanted is.
Status check_change(const Change& change);

// The question to a server, and back: whoever asks may have sent anything.
nlohmann::json to_question(const Change& change);
Result<Change> parse_question(const nlohmann::json& question);

// What became of the lanes, as far as it was asked for.
struct LanesChanged {
    std::optional<u32> lane_idle_s;
    std::optional<u32> previous_lane_idle_s;
    std::optional<u32> lanes_left;  // that are busy, and so were not ended

    bool operator==(const LanesChanged&) const = default;
};

// The error is a change that this device cannot have. `lanes`: it has some (DeviceState::charge is
// not off).
Status may_change_lanes(const Change& change, bool lanes, const DeviceState& state);

// Control thread, after may_change_lanes. `state` is the caller's to write. Lanes are not reaped by
// it: that takes a few seconds at most (Keeper::reap).
LanesChanged change_lane_idle(const Change& change, cgroup::Keeper* keeper, DeviceState& state);

// "/dev/ublkb0: lanes end after 5 s without requests (60 s before); no lanes are left": of what was
// asked for, one line.
std::string to_text(const LanesChanged& changed, const std::string& device);
// Into the answer to `set`, and out of it; nullopt: what was asked for is missing, because the
// server is older than lanes.
void add_to(nlohmann::json& answer, const LanesChanged& changed);
std::optional<LanesChanged> lanes_changed_in(const nlohmann::json& answer, const Change& change);

}  // namespace ringloop::control
