// What there is already of a device that a file of /etc/ringloop describes.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"
#include "control/devices.h"
#include "control/options.h"
#include "control/runtime_dir.h"

namespace ringloop::control {

enum class Standing : u8 {
    absent,    // nothing of it: attach
    attached,  // its server lives
    dead,      // its server died and its users wait: recover
};

struct Configured {
    Standing standing = Standing::absent;
    DeviceState state;  // unless absent
};

// `options` have a name and an image. EEXIST: the name belongs to another image. What a server left
// that died before its device was usable is removed.
Result<Configured> find_configured(const RuntimeDir& directory, const DeviceOptions& options);

// "ringloop@disk.service", when the server is the service manager's; empty: a person's.
std::string unit_of(const DeviceState& state);
// The same of a line of /proc/PID/cgroup.
std::string unit_in(std::string_view cgroup_line);

}  // namespace ringloop::control
