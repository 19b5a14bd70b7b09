// Another image under a device in use, or the same one opened in another way: direct or through the
// page cache, for writing or not. All of it while the shards are frozen, so no request notices.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>

#include "backing/backing.h"
#include "cgroup/keeper.h"
#include "control/shard_threads.h"
#include "control/state.h"
#include "control/transports.h"
#include "engine/device.h"

namespace ringloop::control {

// What somebody wants changed.
struct ImageWanted {
    std::string backing_file{};  // absolute; empty: the image that it has
    std::optional<backing::DirectIo> direct_io{};
    std::optional<bool> read_only{};
    bool force = false;  // although it is written to

    bool any() const { return !backing_file.empty() || direct_io || read_only; }
    bool operator==(const ImageWanted&) const = default;
};

// Into the question to a server, and out of it: whoever asks may have sent anything.
void ask_for(nlohmann::json& question, const ImageWanted& wanted);
Result<ImageWanted> image_wanted_in(const nlohmann::json& question);

// What a device can be refused by its state alone: another image under writers without force.
Status may_change_image(const ImageWanted& wanted, const DeviceState& state);

// The device's parts, live.
struct ImageParts {
    backing::Backing& backing;
    engine::Device& device;
    ShardThreads& shards;
    Transports& transports;
    cgroup::Keeper* keeper = nullptr;  // of lanes, which have the image open, too
};

// Control thread, between bring_up and stop; blocks for the time that requests in flight take, and
// for that of a sync, with a bound for the former. `looked_up_fd`: of the new image, as of
// backing::Options. After an error the device is as it was; otherwise `state` says what it is, and
// is the caller's to write.
Status change_image(const ImageWanted& wanted, int looked_up_fd, const ImageParts& parts,
                    DeviceState& state);

// Into the answer to `set`, what was asked for; and one line of it for each such thing, each with a
// newline behind it: "/dev/ublkb0: serves /new.img now, /old.img before".
void add_image_to(nlohmann::json& answer, const ImageWanted& wanted, const DeviceState& before,
                  const DeviceState& after);
std::string image_text(const nlohmann::json& answer, const std::string& device);

}  // namespace ringloop::control
