#include "control/degraded.h"

#include "base/errno.h"
#include "control/state.h"

namespace ringloop::control {

Degraded look_at_image(const backing::Backing& backing, engine::Device& device) {
    const backing::Backing::Presence presence = backing.presence();
    if (presence.missing_bytes == 0) {
        device.forget_end();
    } else {
        const u64 size = backing.size_now();
        device.note_end(size - std::min(presence.missing_bytes, size));
    }
    const engine::Device::Troubles troubles = device.troubles();
    return {degraded_reason(presence, troubles), troubles.failures};
}

std::string degraded_reason(const backing::Backing::Presence& presence,
                            const engine::Device::Troubles& troubles) {
    std::string reason;
    const auto add = [&reason](const std::string& text) {
        reason += (reason.empty() ? "" : "; ") + text;
    };
    if (presence.removed) add("its file was removed, and is gone when the device is");
    if (presence.missing_bytes > 0) {
        add(fmt::format("the image was cut short, {} bytes of the device are missing",
                        presence.missing_bytes));
    }
    if (troubles.failures > 0) {
        add(fmt::format(
            "{} failed: the first a {} ({}), at {}",
            troubles.failures == 1 ? "1 request" : fmt::format("{} requests", troubles.failures),
            engine::name_of(troubles.op), describe(troubles.error),
            utc_text(static_cast<i64>(troubles.since_s))));
    }
    return reason;
}

}  // namespace ringloop::control
