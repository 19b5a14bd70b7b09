#include "control/transport.h"

#include "control/files.h"
#include "control/ublk_transport.h"

namespace ringloop::control {

Result<std::unique_ptr<Transport>> create_transport(const DeviceOptions& options,
                                                    const backing::Geometry& geometry,
                                                    const Announce& announce) {
    switch (options.transport) {
        case TransportChoice::automatic:
        case TransportChoice::ublk: return UblkTransport::create(options, geometry, announce);
    }
    return fail(EINVAL, "unknown transport");
}

Result<std::unique_ptr<Transport>> take_over_transport(const DeviceState& state,
                                                       const backing::Geometry& geometry) {
    return UblkTransport::take_over(state, geometry);
}

bool may_remain(const DeviceState& state) {
    // A device does not outlive its boot.
    return state.boot_id == read_line("/proc/sys/kernel/random/boot_id") &&
           ublk_device_exists(state);
}

Result<Remains> remains_of(const DeviceState& state) {
    if (!may_remain(state)) return Remains::none;
    return ublk_remains_of(state);
}

Status remove_remains(const DeviceState& state) { return remove_ublk_remains(state); }

}  // namespace ringloop::control
