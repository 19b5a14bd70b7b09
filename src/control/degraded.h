// Whether an image still is what it was when it came under its device, in words.
#pragma once

#include <string>

#include "backing/backing.h"
#include "engine/device.h"

namespace ringloop::control {

// What is wrong by now; all empty or 0 where nothing is.
struct Degraded {
    std::string reason;  // of everything, one line
    u64 failures = 0;    // requests that the image did not carry out
};

// Control thread. Looks at the file, and lets `device` know where it ends.
Degraded look_at_image(const backing::Backing& backing, engine::Device& device);

// The words alone.
std::string degraded_reason(const backing::Backing::Presence& presence,
                            const engine::Device::Troubles& troubles);

}  // namespace ringloop::control
