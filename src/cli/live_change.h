// For the verbs that ask a device's server, or have it change the device while it is in use.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "base/result.h"
#include "control/devices.h"
#include "control/state.h"

namespace ringloop::cli {

struct LiveChange {
    control::DeviceState state;  // before it
    nlohmann::json answer;       // an object
};

// Asks the server of the device that `target` means, and waits for longer than a server waits for
// requests in flight and for the kernel. An error is also what the server refused.
// `fd`, if any, goes with the question.
Result<LiveChange> change_live(const std::string& target, const nlohmann::json& question,
                               int fd = -1);

// "\n/dev/ublkb0: requests waited for 0.213 ms": how long they were held back for the change, if
// they were, as a line of its own behind what was changed; empty where nobody waited.
std::string pause_text(const nlohmann::json& answer, const std::string& device);

// Asks the server of a device something that is answered at once. The error is what stands between
// us and an answer: a server that is dead or starting, one of another version, or its refusal.
Result<nlohmann::json> ask_live(const control::RuntimeDir& directory,
                                const control::KnownDevice& device, const nlohmann::json& question);

// Whether an answer has the field, of this kind.
bool has(const nlohmann::json& answer, const char* field, nlohmann::json::value_t kind);

}  // namespace ringloop::cli
