// All devices of this runtime directory, and the one that a person means.
#pragma once

#include <string>
#include <vector>

#include "control/runtime_dir.h"
#include "control/state.h"

namespace ringloop::control {

struct KnownDevice {
    DeviceState state;
    bool served = false;  // its server lives

    // "starting", "live", "stopping"; "dead" when the server is gone and the device waits.
    const char* status_word() const { return served ? to_text(state.phase) : "dead"; }
    // The same for people, who want to know too whether something is wrong with the image.
    const char* health_word() const {
        if (!served || state.phase != Phase::live) return status_word();
        if (!state.stopped.empty()) return "stopped";
        if (!state.paused.empty()) return "paused";
        return state.degraded.empty() ? status_word() : "degraded";
    }
};

struct KnownDevices {
    std::vector<KnownDevice> devices;
    std::vector<Error> unreadable;  // state files that are none
};
// Sorted by name. Leaves out state files whose device is gone, after a reboot for instance.
Result<KnownDevices> known_devices(const RuntimeDir& directory);

// `target`: a name, a device ("/dev/ublkb0", "ublkb0", a link to it), or an image. An image that is
// attached more than once is an error that lists its devices. A name also finds what is left of a
// device that is gone.
Result<KnownDevice> find_device(const RuntimeDir& directory, const std::string& target);

}  // namespace ringloop::control
