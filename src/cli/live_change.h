// For the verbs that have a device's server change it while it is in use.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "base/result.h"
#include "control/state.h"

namespace ringloop::cli {

struct LiveChange {
    control::DeviceState state;  // before it
    nlohmann::json answer;       // an object
};

// Asks the server of the device that `target` means, and waits for longer than a server waits for
// requests in flight and for the kernel. An error is also what the server refused.
Result<LiveChange> change_live(const std::string& target, const nlohmann::json& question);

// Whether an answer has the field, of this kind.
bool has(const nlohmann::json& answer, const char* field, nlohmann::json::value_t kind);

}  // namespace ringloop::cli
