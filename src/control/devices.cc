#include "control/devices.h"

#include <algorithm>

#include "control/files.h"
#include "control/transport.h"

namespace ringloop::control {
namespace {

bool is_device(const DeviceState& state, const std::string& target) {
    if (state.nbd && std::ranges::find(state.nbd->uris, target) != state.nbd->uris.end()) {
        return true;
    }
    return state.device == target || state.device == "/dev/" + target ||
           real_path(target) == state.device;
}

bool is_image(const DeviceState& state, const std::string& target) {
    const auto path = real_path(target);
    return path && (path == state.backing_file || path == real_path(state.backing_file));
}

}  // namespace

Result<KnownDevices> known_devices(const RuntimeDir& directory) {
    const auto names = directory.names();
    if (!names) return std::unexpected(names.error());
    KnownDevices known;
    for (const std::string& name : *names) {
        auto state = directory.read_state(name);
        if (!state) {
            // ENOENT: detached while we looked.
            if (state.error().number != ENOENT) known.unreadable.push_back(state.error());
            continue;
        }
        const bool served = directory.is_locked(name);
        if (served || may_remain(*state)) known.devices.push_back({std::move(*state), served});
    }
    return known;
}

Result<KnownDevice> find_device(const RuntimeDir& directory, const std::string& target) {
    if (is_plain_name(target)) {
        auto state = directory.read_state(target);
        if (state) return KnownDevice{std::move(*state), directory.is_locked(target)};
        if (state.error().number != ENOENT) {
            return fail(EINVAL, "{}; remove this file", state.error().message);
        }
    }
    auto known = known_devices(directory);
    if (!known) return std::unexpected(std::move(known).error());
    for (KnownDevice& device : known->devices) {
        if (is_device(device.state, target)) return std::move(device);
    }
    std::vector<KnownDevice> matches;
    for (KnownDevice& device : known->devices) {
        if (is_image(device.state, target)) matches.push_back(std::move(device));
    }
    if (matches.empty()) return fail(ENOENT, "{}: not attached; see ringloop list", target);
    if (matches.size() == 1) return std::move(matches.front());
    std::string paths;
    for (const KnownDevice& device : matches) paths += " " + device.state.device;
    return fail(EINVAL, "{}: attached more than once; name one of:{}", target, paths);
}

}  // namespace ringloop::control
