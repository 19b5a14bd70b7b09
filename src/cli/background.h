// A server in the background, for attach and recover.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/spawn.h"

namespace ringloop::cli {

// Starts `serve` with these arguments and returns the device it serves as an object that has
// "device". Its warnings are printed.
Result<nlohmann::json> start_in_background(const std::vector<std::string>& arguments,
                                           control::WhenInterrupted when_interrupted);

// Those of an object that a server has sent.
void print_warnings(const nlohmann::json& object);

// Prints the error; the exit code that stands for it.
int report(const Error& error);

}  // namespace ringloop::cli
