// A device in use takes the size that its image has by now, as losetup -c does.
#pragma once

#include <functional>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "backing/backing.h"
#include "control/shard_threads.h"
#include "control/state.h"
#include "control/transports.h"

namespace ringloop::control {

struct Resized {
    u64 size_bytes = 0;
    u64 previous_bytes = 0;
    u64 bytes_cut = 0;  // of the image's tail, below one sector: unreachable
};

// The device's parts, live.
struct ResizedParts {
    backing::Backing& backing;
    ShardThreads& shards;
    Transports& transports;
};

// Control thread, between bring_up and stop; blocks for the time that requests in flight take, with
// a bound. The same size again is no error. After an error of the kernel or the image the device
// may be half resized, which hurts nobody, and another call does the rest. `state` is what the
// device's users know, and the caller's to change.
// `sizelimit_bytes`: another size limit, 0 for none, which the backing keeps after a success.
Result<Resized> resize_device(const ResizedParts& parts, const DeviceState& state,
                              std::optional<u64> sizelimit_bytes = {});

// The two steps in the order in which the kernel never shows bytes that the engine would refuse:
// the engine first to grow, the kernel first to shrink. The second only after the first succeeded.
using SizeStep = std::function<Status(u64 size_bytes)>;
Status change_size(u64 from_bytes, u64 to_bytes, const SizeStep& engine, const SizeStep& kernel);

// The size with which a device of a dead server goes on, whatever became of its image: what the
// kernel shows, or what clients were told. Only a resize changes it.
u64 size_known_to_users(const DeviceState& state);

// What is said of an image's tail, at start too.
std::string cut_text(const std::string& image, u64 bytes_cut);

// "/dev/nbd0: 128 MiB (134217728 bytes) now, 64 MiB before", for people.
std::string to_text(const Resized& resized, const std::string& device);
nlohmann::json to_json(const Resized& resized, const DeviceState& state);

}  // namespace ringloop::control
