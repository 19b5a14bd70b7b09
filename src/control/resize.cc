#include "control/resize.h"

#include <charconv>
#include <nlohmann/json.hpp>

#include "base/size.h"
#include "control/files.h"

namespace ringloop::control {
Result<Resized> resize_device(const ResizedParts& parts, const DeviceState& state,
                              std::optional<u64> sizelimit_bytes) {
    const auto measured = parts.backing.measure_again(sizelimit_bytes);
    if (!measured) return std::unexpected(measured.error());
    if (sizelimit_bytes) TRY(parts.backing.claim_for(*sizelimit_bytes));
    const Resized resized = {.size_bytes = measured->size_bytes,
                             .previous_bytes = state.size_bytes,
                             .bytes_cut = measured->bytes_cut};
    // The engine differs from what users know after a resize that failed half way.
    const bool engine_has_it = parts.backing.size_now() == resized.size_bytes;
    if (engine_has_it && resized.size_bytes == resized.previous_bytes) {
        if (sizelimit_bytes) parts.backing.limit_size(*sizelimit_bytes);
        return resized;
    }
    TRY(parts.transports.may_resize());

    const auto engine = [&](u64 size_bytes) -> Status {
        if (engine_has_it) return {};
        return parts.shards.while_frozen(state.device, "resize", [&]() -> Status {
            parts.backing.resize(size_bytes);
            return {};
        });
    };
    // Not while the shards are frozen: the driver may wait for its requests in flight.
    const auto kernel = [&](u64 size_bytes) { return parts.transports.resize(size_bytes); };
    TRY(change_size(resized.previous_bytes, resized.size_bytes, engine, kernel));
    if (sizelimit_bytes) parts.backing.limit_size(*sizelimit_bytes);
    return resized;
}

Status change_size(u64 from_bytes, u64 to_bytes, const SizeStep& engine, const SizeStep& kernel) {
    const bool grows = to_bytes > from_bytes;
    TRY((grows ? engine : kernel)(to_bytes));
    return (grows ? kernel : engine)(to_bytes);
}

u64 size_known_to_users(const DeviceState& state) {
    if (state.transport == TransportChoice::socket) return state.size_bytes;
    constexpr u64 sector_bytes = 512;  // of sysfs, whatever the block size
    const std::string disk = state.device.substr(state.device.rfind('/') + 1);
    const std::string sectors = read_line("/sys/block/" + disk + "/size");
    u64 count = 0;
    std::from_chars(sectors.data(), sectors.data() + sectors.size(), count);
    return count > 0 ? count * sector_bytes : state.size_bytes;
}

std::string cut_text(const std::string& image, u64 bytes_cut) {
    return fmt::format("{}: the last {} bytes are less than a sector and cannot be reached", image,
                       bytes_cut);
}

std::string to_text(const Resized& resized, const std::string& device) {
    const std::string now =
        fmt::format("{} ({} bytes)", format_size(resized.size_bytes), resized.size_bytes);
    if (resized.size_bytes == resized.previous_bytes) {
        return fmt::format("{}: {} as before", device, now);
    }
    return fmt::format("{}: {} now, {} before", device, now, format_size(resized.previous_bytes));
}

nlohmann::json to_json(const Resized& resized, const DeviceState& state) {
    nlohmann::json object = {{"name", state.name},
                             {"device", state.device},
                             {"size_bytes", resized.size_bytes},
                             {"previous_size_bytes", resized.previous_bytes},
                             {"warnings", nlohmann::json::array()}};
    if (resized.bytes_cut > 0) {
        object["warnings"].push_back(cut_text(state.backing_file, resized.bytes_cut));
    }
    return object;
}

}  // namespace ringloop::control
