// What there is already of a device that a file of /etc/ringloop describes.
#pragma once

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

}  // namespace ringloop::control
