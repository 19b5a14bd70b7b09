#include "control/transport.h"

#include "base/assert.h"
#include "control/files.h"
#include "control/listening.h"
#include "control/nbd_transport.h"
#include "control/ublk_transport.h"

namespace ringloop::control {

Decision decide_transport() {
    const Status ublk = ublk_usable();
    if (ublk) return {TransportChoice::ublk, ""};
    const Status nbd = nbd_usable();
    if (nbd) return {TransportChoice::nbd, "no ublk: " + ublk.error().message};
    return {TransportChoice::socket,
            fmt::format("no block device: {}; {}", ublk.error().message, nbd.error().message)};
}

Result<std::string> first_free_device() {
    const Decision decision = decide_transport();
    std::optional<std::string> device;
    switch (decision.transport) {
        case TransportChoice::ublk: device = first_free_ublk_device(); break;
        case TransportChoice::nbd: device = first_free_nbd_device(); break;
        case TransportChoice::automatic:
        case TransportChoice::socket: return fail(ENODEV, "{}", decision.reason);
    }
    if (!device) return fail(EBUSY, "all devices are in use: detach one");
    return std::move(*device);
}

Result<std::unique_ptr<Transport>> create_transport(const DeviceOptions& options,
                                                    const TransportContext& context,
                                                    const Announce& announce) {
    if (options.transport == TransportChoice::nbd) {
        return NbdTransport::create(options, context, announce);
    }
    ASSERT(options.transport == TransportChoice::ublk);
    return UblkTransport::create(options, context, announce);
}

Result<std::unique_ptr<Transport>> take_over_transport(const DeviceState& state,
                                                       const TransportContext& context) {
    if (state.transport == TransportChoice::nbd) return NbdTransport::take_over(state, context);
    ASSERT(state.transport == TransportChoice::ublk);
    return UblkTransport::take_over(state, context);
}

bool may_remain(const DeviceState& state) {
    // Sockets are bound anew; a block device does not outlive its boot.
    if (state.transport == TransportChoice::socket) return true;
    if (state.boot_id != read_line("/proc/sys/kernel/random/boot_id")) return false;
    if (state.transport == TransportChoice::nbd) return nbd_device_exists(state);
    return ublk_device_exists(state);
}

Result<Remains> remains_of(const DeviceState& state) {
    if (!may_remain(state)) return Remains::none;
    if (state.transport == TransportChoice::ublk) return ublk_remains_of(state);
    return state.phase == Phase::starting ? Remains::unusable : Remains::recoverable;
}

Status remove_remains(const DeviceState& state) {
    if (state.nbd) {
        for (const Address& address : state.nbd->exported.addresses) {
            if (address.kind == Address::Kind::unix) remove_dead_socket(address.path);
        }
    }
    switch (state.transport) {
        case TransportChoice::nbd: return remove_nbd_remains(state);
        case TransportChoice::ublk: return remove_ublk_remains(state);
        case TransportChoice::automatic:
        case TransportChoice::socket: break;
    }
    return {};
}

bool is_gone(const DeviceState& state) {
    switch (state.transport) {
        case TransportChoice::nbd: return nbd_device_is_gone(state);
        case TransportChoice::ublk: return ublk_device_is_gone(state);
        case TransportChoice::automatic:
        case TransportChoice::socket: break;
    }
    return true;
}

}  // namespace ringloop::control
