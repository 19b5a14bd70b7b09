// The lanes of devices as tables and objects: of `status` objects, which servers of other versions
// may have made.
#pragma once

#include <nlohmann/json.hpp>
#include <span>
#include <string>
#include <vector>

#include "base/result.h"
#include "control/devices.h"

namespace ringloop::cli {

// A device and what its server said of it.
struct Asked {
    control::KnownDevice device;
    Result<nlohmann::json> status;  // an object; of one that is not live, what is known without it
};

// "": the status has lanes. Otherwise why not, in brackets: "(charges nobody)", "(dead)".
std::string lanes_missing(const Asked& asked);

// A line for each lane of each device; one for a device without.
std::string lanes_table(std::span<const Asked> devices);
// [{name, device, charge, lanes, lanes_started ...}], without the last where there are none;
// {name, device, error} of a device whose server does not answer.
nlohmann::json lanes_json(std::span<const Asked> devices);

// Of one device, for `status`: the table and what became of lanes; "" where there are none.
std::string lanes_text(const nlohmann::json& status);

}  // namespace ringloop::cli
