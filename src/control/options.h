// What a person may choose about one device, checked, and the same as arguments of `serve`.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "backing/backing.h"
#include "base/result.h"
#include "control/export_options.h"
#include "engine/on_error.h"
#include "engine/policy.h"

namespace ringloop::control {

// --sandbox: how much a server gives up when it is set up (sandbox.h).
enum class SandboxChoice : u8 {
    on,       // what can be had here; the rest is reported
    off,      // nothing
    require,  // all of it, or there is no device
};

inline constexpr u32 queues_max = 4096;  // UBLK_MAX_NR_QUEUES, include/uapi/linux/ublk_cmd.h
inline constexpr u32 depth_max = 4096;   // UBLK_MAX_QUEUE_DEPTH
inline constexpr u32 name_chars_max = 64;
inline constexpr u32 ref_bytes_max = 63;  // LO_NAME_SIZE and its NUL, include/uapi/linux/loop.h
inline constexpr u32 lane_idle_default_s = 60;  // as the kernel's driver since 5.14
inline constexpr u32 lane_idle_max_s = 24 * 3600;

enum class TransportChoice : u8 {
    automatic,  // the first of the others that this host and this user have
    ublk,       // /dev/ublkbN
    nbd,        // /dev/nbdN: the kernel's nbd driver is the client
    socket,     // no block device: whoever connects is the client
};

struct DeviceOptions {
    std::string image;  // as it was written; relative to the working directory of the reader
    std::string name;   // empty: the device's own name, "ublkb0", or "socket0"
    TransportChoice transport = TransportChoice::automatic;
    u64 offset_bytes = 0;
    u64 sizelimit_bytes = 0;  // 0: to the end of the image
    bool read_only = false;
    u32 sector_size_bytes = 0;  // 0: the backing decides
    backing::DirectIo direct_io = backing::DirectIo::automatic;
    // 1 to queues_max; the kernel clamps it to its CPUs. Not given: what suits the transport.
    std::optional<u32> queues{};
    u32 depth = 128;       // requests in flight in each queue, 1 to depth_max
    std::string policy{};  // empty: engine::default_policy()
    // Of the device, 1 to engine::workers_max, and no fewer than queues. Not given: the policy's.
    std::optional<u32> workers{};
    // Whom I/O on the image is charged to: "" or "off" the server's own cgroup, "issuer" that of
    // whoever issued each request, otherwise the path of one cgroup for all.
    std::string charge{};
    u32 lane_idle_s = lane_idle_default_s;  // after which a cgroup's lane ends
    std::string ref{};  // what the device is for, in the words of who attaches it; see ref_of
    bool allow_overlap = false;  // of others who have the same bytes of the image
    std::string device{};        // "/dev/ublkb3", "/dev/nbd1": this one; empty: the first free one
    bool autoclear = false;      // ends when its last user has gone
    // Partitions have nodes of their own. Not given: where the kernel looks for them.
    std::optional<bool> partscan{};
    bool watch_size = false;  // takes the image's size whenever that changes
    engine::OnError on_error = engine::OnError::report;  // what becomes of it when the image fails
    std::string metrics{};  // where they are served over HTTP (metrics_server.h); empty: nowhere
    SandboxChoice sandbox = SandboxChoice::on;
    ExportOptions exported{};  // sockets beside the transport, and what their clients may do

    bool operator==(const DeviceOptions&) const = default;
};

// Everything that can be known to be wrong without looking at the image.
Status check_options(const DeviceOptions& options);

// Whether `charge` is nobody but the server.
inline bool charges_server(std::string_view charge) { return charge.empty() || charge == "off"; }

// --loop-ref, or the image as it was written: as losetup has it, and as long as its kernel keeps
// it.
std::string ref_of(const DeviceOptions& options);

// "off", "issuer" or a path: what is shown of `options.charge`, and kept.
std::string charge_of(const DeviceOptions& options);

// --workers by itself. The error names the range.
Status check_workers(u32 workers);
// --charge by itself, as far as that is known without looking: "" is none. The error names the
// choices.
Status check_charge(std::string_view charge);
// --metrics by itself: an address of loopback. The error names the choices.
Status check_metrics(std::string_view metrics);
// --on-error by itself: a driver that sends slow requests again, or kills the server of an ordinary
// user (`unprivileged`) for them, cannot be kept waiting.
Status check_on_error(engine::OnError on_error, TransportChoice transport, u32 queues,
                      bool unprivileged = false);
// --lane-idle by itself: 1 to lane_idle_max_s. The error names the range.
Status check_lane_idle(u32 lane_idle_s);

// Of checked options.
const engine::Policy& policy_of(const DeviceOptions& options);

// "/dev/ublkb3" or "/dev/nbd1" by itself; the transport that it belongs to.
Result<TransportChoice> transport_of_device(std::string_view device);

// How many queues a device has that may have as many as it likes. Not given: one where the policy
// is of a driver that had one; otherwise one for each CPU and no more than there are workers, four
// at the most: beyond that a thread more costs memory and no image is faster.
u32 queues_of(const DeviceOptions& options);

// [A-Za-z0-9._-], at most 64, not starting with a dot or a dash: a file name, a table cell and a
// shell word without quotes. Device names (ublkb0, nbd1, socket2) are reserved: each belongs to its
// device.
Status check_name(std::string_view name);
// The same including the reserved ones: what may stand in a state file.
bool is_plain_name(std::string_view name);

// The transport is decided by now: without a block device nothing needs whole sectors.
backing::Options backing_options(const DeviceOptions& options);

// The arguments after `serve` that mean these options; read back by the command line's parser.
std::vector<std::string> serve_arguments(const DeviceOptions& options);

// "auto", "on", "off"; "auto", "ublk", "nbd", "socket"; "report", "stop", "pause"; "on", "off",
// "require". Errors name the choices.
const char* to_text(backing::DirectIo choice);
const char* to_text(TransportChoice choice);
const char* to_text(engine::OnError choice);
const char* to_text(SandboxChoice choice);
Result<backing::DirectIo> parse_direct_io(std::string_view text);
Result<TransportChoice> parse_transport(std::string_view text);
Result<engine::OnError> parse_on_error(std::string_view text);
Result<SandboxChoice> parse_sandbox(std::string_view text);

}  // namespace ringloop::control
