// A change of what a server looks after while it serves (control/upkeep.h): `set --autoclear` and
// `set --watch-size`.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "control/state.h"
#include "control/transports.h"
#include "control/upkeep.h"

namespace ringloop::control {

// What somebody wants; not given: as it is.
struct UpkeepChange {
    std::optional<bool> autoclear{};
    std::optional<bool> watch_size{};

    bool any() const { return autoclear || watch_size; }
    bool operator==(const UpkeepChange&) const = default;
};

// Into a question, and back: whoever asks may have sent anything.
void ask_for(nlohmann::json& question, const UpkeepChange& change);
Result<UpkeepChange> upkeep_change_in(const nlohmann::json& question);

Upkeep::Clients clients_of(const Transports& transports);

// Control thread. `state` is the caller's to write. An error changes nothing.
Status change_upkeep(const UpkeepChange& change, Upkeep& upkeep, const Transports& transports,
                     DeviceState& state);

// What has become of what was asked for. `before` and `after` it.
void add_upkeep_to(nlohmann::json& answer, const UpkeepChange& change, const DeviceState& before,
                   const DeviceState& after);
// "/dev/ublkb0: autoclear: on now, off before", a line for each; "" where an older server has
// answered.
std::string upkeep_text(const nlohmann::json& answer, const std::string& device);

}  // namespace ringloop::control
