// What is known of a device from outside its server: for the verbs that show it.
#pragma once

#include <nlohmann/json.hpp>
#include <string>

#include "base/result.h"
#include "control/devices.h"

namespace ringloop::cli {

// Of a live device, as its server tells it, an object; of any other, what its state file says.
Result<nlohmann::json> status_of(const control::RuntimeDir& directory,
                                 const control::KnownDevice& device);

// The server may be of another version than we are: what is missing or of another kind is "-".
std::string text_of(const nlohmann::json& object, const char* field);

}  // namespace ringloop::cli
