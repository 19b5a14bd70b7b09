// What is known of one device: the content of its state file, an entry of `list`, and the first
// part of `status`. A state file is written by its server only and read by everyone, so its bytes
// are checked like those of a stranger.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "control/options.h"

namespace ringloop::control {

inline constexpr u64 state_file_bytes_max = 64 * kib;

// What the server wrote of itself last. Whether it still lives, its lock tells.
enum class Phase : u8 {
    starting,  // the device was added and is not usable yet
    live,
    recovering,  // another server takes it over; its users wait
    stopping,
};

struct DeviceState {
    std::string name;
    std::string device;  // "/dev/ublkb0"; without a block device the first of the URIs
    TransportChoice transport = TransportChoice::ublk;
    // Served by NBD, to the kernel's driver or to clients; nullopt: ublk alone. Its addresses are
    // absolute.
    struct Nbd {
        ExportOptions exported;
        std::vector<std::string> uris;   // of the addresses
        std::string backend_identifier;  // by which nbd.ko knows the device; empty: without it
        bool operator==(const Nbd&) const = default;
    };
    std::optional<Nbd> nbd;
    std::string backing_file;  // absolute
    u64 size_bytes = 0;        // of the device
    u64 offset_bytes = 0;
    u64 sizelimit_bytes = 0;  // 0: none
    u32 sector_size = 0;      // bytes
    bool read_only = false;
    bool direct_io = false;
    std::string direct_io_reason;  // why not; empty when direct
    backing::DirectIo direct_io_requested = backing::DirectIo::automatic;
    u32 queues = 0;
    u32 depth = 0;
    std::string policy;                    // by which transfers are dispatched
    std::optional<u32> workers_requested;  // what a person asked for; otherwise the policy's own
    std::string charge = "off";            // whom I/O is charged to: --charge
    u32 lane_idle_s = lane_idle_default_s;
    std::string ref;             // --loop-ref, otherwise the image as it was written
    bool allow_overlap = false;  // no lock is held on the image
    bool autoclear = false;
    bool partscan = true;
    bool unprivileged = false;  // a ublk device of an ordinary user: it ends with its server
    bool watch_size = false;
    engine::OnError on_error = engine::OnError::report;
    SandboxChoice sandbox = SandboxChoice::on;
    std::string metrics;  // where they are served over HTTP: --metrics; empty: nowhere
    i32 pid = 0;
    std::string degraded{};  // what is wrong with the image, when that was looked at last
    std::string stopped{};   // why it takes no changes any more; kept for who recovers it
    std::string paused{};    // what waits for room, when that was looked at last
    bool poisoned = false;   // a sync failed (engine::Device::poison); kept for who recovers it
    Phase phase = Phase::starting;
    std::string started_at;  // UTC, "2025-01-31T12:00:00Z"
    std::string boot_id;     // a device does not outlive its boot, its state file may

    bool operator==(const DeviceState&) const = default;
};

// As started_at has it.
std::string utc_now();
std::string utc_text(i64 since_1970_s);

// The options that make the same device again from the same image, with the sector size that it
// has now rather than a default that may have changed.
DeviceOptions recover_options(const DeviceState& state);

const char* to_text(Phase phase);
// "ublk", "nbd+socket": everything that the device is served by.
std::string transports_text(const DeviceState& state);

// `status_word` is what `state` says: the phase, or "dead" where the server is gone.
nlohmann::json to_json(const DeviceState& state, std::string_view status_word);
// A state file's text. Bytes of a path that are no UTF-8 survive in "backing_file_hex" and
// "charge_hex".
std::string to_file_text(const DeviceState& state);
// `source` names the file in the message.
Result<DeviceState> parse_state(std::string_view text, std::string_view source);

// JSON that came from outside: nullopt when it is none, never an exception.
std::optional<nlohmann::json> parse_json(std::string_view text);
// One line, or indented for people. Bytes that are no UTF-8 are replaced, never an exception.
std::string dump_json(const nlohmann::json& value, bool pretty = false);

}  // namespace ringloop::control
