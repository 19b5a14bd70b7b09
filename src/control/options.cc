#include "control/options.h"

#include <unistd.h>

#include <algorithm>

#include "base/assert.h"
#include "control/metrics_server.h"

namespace ringloop::control {
namespace {

constexpr u32 sector_size_bytes_min = 512;
constexpr u32 sector_size_bytes_max = 4096;

bool is_name_char(char c) {
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') || c == '.' ||
           c == '_' || c == '-';
}

bool is_device_name(std::string_view name) {
    for (const std::string_view prefix : {"ublkb", "nbd", "socket"}) {
        if (!name.starts_with(prefix)) continue;
        const std::string_view number = name.substr(prefix.size());
        const bool digits =
            std::ranges::all_of(number, [](char c) { return c >= '0' && c <= '9'; });
        if (!number.empty() && digits) return true;
    }
    return false;
}

Status check_dispatching(const DeviceOptions& options) {
    if (!options.policy.empty()) {
        const auto policy = engine::find_policy(options.policy);
        if (!policy) return std::unexpected(policy.error());
    }
    if (!options.workers) return {};
    const u32 workers = *options.workers;
    TRY(check_workers(workers));
    if (!options.queues || workers >= *options.queues) return {};
    return fail(EINVAL,
                "--workers {} and --queues {}: each queue needs a worker of its own; use at least "
                "--workers {}, or --queues {}",
                workers, *options.queues, *options.queues, workers);
}

Status check_device(const DeviceOptions& options) {
    if (options.device.empty()) return {};
    const auto transport = transport_of_device(options.device);
    if (!transport) return std::unexpected(transport.error());
    if (options.transport == TransportChoice::automatic || options.transport == *transport) {
        return {};
    }
    return fail(EINVAL, "--device {} and --transport {}: choose one", options.device,
                to_text(options.transport));
}

}  // namespace

Result<TransportChoice> transport_of_device(std::string_view device) {
    constexpr std::string_view folder = "/dev/";
    if (device.starts_with(folder) && is_device_name(device.substr(folder.size()))) {
        const std::string_view name = device.substr(folder.size());
        if (name.starts_with("ublkb")) return TransportChoice::ublk;
        if (name.starts_with("nbd")) return TransportChoice::nbd;
    }
    return fail(EINVAL, "--device {}: use /dev/ublkbN or /dev/nbdN", device);
}

bool is_plain_name(std::string_view name) {
    return !name.empty() && name.size() <= name_chars_max && name[0] != '.' && name[0] != '-' &&
           std::ranges::all_of(name, is_name_char);
}

Status check_name(std::string_view name) {
    if (!is_plain_name(name)) {
        return fail(EINVAL,
                    "name '{}': use 1 to {} of A-Z a-z 0-9 . _ - and no leading dot or dash", name,
                    name_chars_max);
    }
    if (is_device_name(name)) {
        return fail(EINVAL, "name '{}': reserved for the device of that name; choose another",
                    name);
    }
    return {};
}

Status check_workers(u32 workers) {
    if (workers >= 1 && workers <= engine::workers_max) return {};
    return fail(EINVAL, "--workers {}: use 1 to {}", workers, engine::workers_max);
}

std::string ref_of(const DeviceOptions& options) {
    return (options.ref.empty() ? options.image : options.ref).substr(0, ref_bytes_max);
}

std::string charge_of(const DeviceOptions& options) {
    return charges_server(options.charge) ? "off" : options.charge;
}

Status check_charge(std::string_view charge) {
    if (charge == "off" || charge == "issuer" || charge.starts_with('/')) return {};
    return fail(EINVAL,
                "--charge '{}': use off, issuer, or the path of a cgroup, which begins with '/': "
                "/tenants/a",
                charge);
}

Status check_metrics(std::string_view metrics) {
    const auto address = parse_metrics_address(metrics);
    if (!address) return std::unexpected(address.error());
    return {};
}

Status check_lane_idle(u32 lane_idle_s) {
    if (lane_idle_s >= 1 && lane_idle_s <= lane_idle_max_s) return {};
    return fail(EINVAL, "--lane-idle {}: use 1 to {} seconds", lane_idle_s, lane_idle_max_s);
}

// With several connections the kernel's driver gives up one whose request takes long, and sends
// that again on another: the write that waited could land after what was written next.
Status check_on_error(engine::OnError on_error, TransportChoice transport, u32 queues,
                      bool unprivileged) {
    if (on_error == engine::OnError::pause && unprivileged) {
        return fail(EINVAL,
                    "--on-error pause: the kernel kills the server of an ordinary user's ublk "
                    "device when a request waits for 30 seconds; use --transport socket");
    }
    if (on_error != engine::OnError::pause || transport != TransportChoice::nbd || queues <= 1) {
        return {};
    }
    return fail(EINVAL,
                "--on-error pause needs --queues 1 with the kernel's nbd driver, which sends slow "
                "requests again on another of its connections");
}

Status check_options(const DeviceOptions& options) {
    if (options.image.empty()) return fail(EINVAL, "no image given; name one");
    if (!options.name.empty()) TRY(check_name(options.name));
    if (options.queues && (*options.queues < 1 || *options.queues > queues_max)) {
        return fail(EINVAL, "--queues {}: use 1 to {}", *options.queues, queues_max);
    }
    if (options.depth < 1 || options.depth > depth_max) {
        return fail(EINVAL, "--depth {}: use 1 to {}", options.depth, depth_max);
    }
    TRY(check_dispatching(options));
    if (!options.charge.empty()) TRY(check_charge(options.charge));
    TRY(check_lane_idle(options.lane_idle_s));
    if (options.ref.size() > ref_bytes_max) {
        return fail(EINVAL, "--loop-ref '{}': use at most {} bytes", options.ref, ref_bytes_max);
    }
    TRY(check_device(options));
    TRY(check_on_error(options.on_error, options.transport, options.queues.value_or(1)));
    if (!options.metrics.empty()) TRY(check_metrics(options.metrics));
    const u32 sector = options.sector_size_bytes;
    if (sector != 0 && (!is_power_of_two(sector) || sector < sector_size_bytes_min ||
                        sector > sector_size_bytes_max)) {
        return fail(EINVAL, "--sector-size {}: use 512, 1024, 2048 or 4096", sector);
    }
    return check_export_options(options.exported);
}

const engine::Policy& policy_of(const DeviceOptions& options) {
    if (options.policy.empty()) return engine::default_policy();
    const auto policy = engine::find_policy(options.policy);
    ASSERT(policy);
    return **policy;
}

u32 queues_of(const DeviceOptions& options) {
    constexpr u32 queues_by_default_max = 4;
    if (options.queues) return *options.queues;
    const engine::Policy& policy = policy_of(options);
    if (policy.one_queue) return 1;
    const auto cpus = static_cast<u32>(std::max(::sysconf(_SC_NPROCESSORS_ONLN), 1L));
    return std::min({cpus, queues_by_default_max, options.workers.value_or(policy.workers)});
}

backing::Options backing_options(const DeviceOptions& options) {
    return {.path = options.image,
            .offset_bytes = options.offset_bytes,
            .sizelimit_bytes = options.sizelimit_bytes,
            .read_only = options.read_only,
            .direct_io = options.direct_io,
            .sector_size_bytes = options.sector_size_bytes,
            .byte_granular = options.transport == TransportChoice::socket,
            .lock = !options.allow_overlap};
}

std::vector<std::string> serve_arguments(const DeviceOptions& options) {
    const DeviceOptions defaults;
    std::vector<std::string> arguments;
    const auto add = [&](std::string_view option, const auto& value) {
        arguments.push_back(fmt::format("{}={}", option, value));
    };
    if (!options.name.empty()) add("--name", options.name);
    // With --nbd alone no block device is asked for, so `auto` has to be said.
    if (options.transport != defaults.transport || !options.exported.addresses.empty()) {
        add("--transport", to_text(options.transport));
    }
    if (options.offset_bytes != 0) add("--offset", options.offset_bytes);
    if (options.sizelimit_bytes != 0) add("--sizelimit", options.sizelimit_bytes);
    if (options.read_only) arguments.emplace_back("--read-only");
    if (options.sector_size_bytes != 0) add("--sector-size", options.sector_size_bytes);
    if (options.direct_io != defaults.direct_io) add("--direct-io", to_text(options.direct_io));
    if (options.queues) add("--queues", *options.queues);
    if (options.depth != defaults.depth) add("--depth", options.depth);
    if (!options.policy.empty()) add("--policy", options.policy);
    if (options.workers) add("--workers", *options.workers);
    if (!options.charge.empty()) add("--charge", options.charge);
    if (options.lane_idle_s != defaults.lane_idle_s) add("--lane-idle", options.lane_idle_s);
    if (!options.ref.empty()) add("--loop-ref", options.ref);
    if (options.allow_overlap) arguments.emplace_back("--allow-overlap");
    if (!options.device.empty()) add("--device", options.device);
    if (options.autoclear) arguments.emplace_back("--autoclear");
    if (options.partscan) add("--partscan", *options.partscan ? "on" : "off");
    if (options.watch_size) arguments.emplace_back("--watch-size");
    if (options.on_error != defaults.on_error) add("--on-error", to_text(options.on_error));
    if (!options.metrics.empty()) add("--metrics", options.metrics);
    if (options.sandbox != defaults.sandbox) add("--sandbox", to_text(options.sandbox));
    append_arguments(options.exported, arguments);
    arguments.emplace_back("--");  // an image may be called --help
    arguments.push_back(options.image);
    return arguments;
}

const char* to_text(backing::DirectIo choice) {
    switch (choice) {
        case backing::DirectIo::automatic: return "auto";
        case backing::DirectIo::on: return "on";
        case backing::DirectIo::off: return "off";
    }
    return "auto";
}

const char* to_text(TransportChoice choice) {
    switch (choice) {
        case TransportChoice::automatic: return "auto";
        case TransportChoice::ublk: return "ublk";
        case TransportChoice::nbd: return "nbd";
        case TransportChoice::socket: return "socket";
    }
    return "auto";
}

const char* to_text(engine::OnError choice) {
    switch (choice) {
        case engine::OnError::report: return "report";
        case engine::OnError::stop: return "stop";
        case engine::OnError::pause: return "pause";
    }
    return "report";
}

const char* to_text(SandboxChoice choice) {
    switch (choice) {
        case SandboxChoice::on: return "on";
        case SandboxChoice::off: return "off";
        case SandboxChoice::require: return "require";
    }
    return "on";
}

Result<SandboxChoice> parse_sandbox(std::string_view text) {
    using enum SandboxChoice;
    for (const auto choice : {on, off, require}) {
        if (text == to_text(choice)) return choice;
    }
    return fail(EINVAL, "--sandbox={}: use on, off or require", text);
}

Result<backing::DirectIo> parse_direct_io(std::string_view text) {
    using enum backing::DirectIo;
    for (const auto choice : {automatic, on, off}) {
        if (text == to_text(choice)) return choice;
    }
    return fail(EINVAL, "--direct-io={}: use on, off or auto", text);
}

Result<TransportChoice> parse_transport(std::string_view text) {
    using enum TransportChoice;
    for (const auto choice : {automatic, ublk, nbd, socket}) {
        if (text == to_text(choice)) return choice;
    }
    return fail(EINVAL, "--transport={}: use auto, ublk, nbd or socket", text);
}

Result<engine::OnError> parse_on_error(std::string_view text) {
    using enum engine::OnError;
    for (const auto choice : {report, stop, pause}) {
        if (text == to_text(choice)) return choice;
    }
    return fail(EINVAL, "--on-error {}: use report, stop or pause", text);
}

}  // namespace ringloop::control
