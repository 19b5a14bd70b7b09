#include "cli/arguments.h"

#include <CLI/CLI.hpp>

#include "base/size.h"
#include "cli/arguments_pack.h"
#include "cli/output.h"
#include "cli/parsed.h"
#include "cli/set_options.h"
#include "version.h"

namespace ringloop::cli {
namespace {

constexpr const char* image_text = "image file or block device";
constexpr const char* workers_text = "workers for what would block, at most [the policy's: 16]";
constexpr const char* lane_idle_text = "seconds without requests after which a lane ends [60]";

// "auto, loop-nowait ... [auto]"
std::string policy_text() {
    std::string names;
    for (const engine::Policy& policy : engine::policies()) {
        names += (names.empty() ? "how I/O is dispatched: " : ", ") + std::string(policy.name);
    }
    return fmt::format("{} [{}]", names, engine::default_policy().name);
}

void add_export_options(CLI::App& verb, control::ExportOptions& options, DeviceTexts& texts) {
    // One value each, so that none takes the image for its second.
    const auto add_list = [&verb](const char* name, std::vector<std::string>& list,
                                  const char* text) {
        verb.add_option(name, list, text)->allow_extra_args(false);
    };
    add_list("--nbd", texts.nbd,
             "also an NBD server: unix:PATH, tcp:PORT, tcp:HOST:PORT, vsock:PORT");
    verb.add_option("--export", options.name, "NBD: name of the export [the empty one]");
    verb.add_option("--description", options.description, "NBD: description of the export");
    verb.add_option("--tls", texts.tls, "NBD: off, on or require [off]");
    verb.add_option("--tls-certificates", options.tls_certificates,
                    "NBD: folder of server-cert.pem, server-key.pem, ca-cert.pem");
    verb.add_option("--tls-psk", options.tls_psk, "NBD: file of pre-shared keys");
    add_list("--tls-authorize", options.tls_authorize,
             "NBD: a client's DN, CN or SAN [no certificate is asked for]");
    verb.add_flag("--insecure", options.insecure, "NBD: TCP for other hosts without TLS");
    verb.add_option("--max-connections", options.connections_max, "NBD: clients at once [128]");
    verb.add_option("--handshake-timeout", options.handshake_timeout_s,
                    "NBD: seconds until a client has chosen [10]");
    verb.add_option("--max-request", texts.request_max, "NBD: largest request [32M]");
    verb.add_option("--max-inflight", texts.inflight_max,
                    "NBD: payload in flight of one client [4M]");
}

void add_device_options(CLI::App& verb, control::DeviceOptions& options, DeviceTexts& texts) {
    verb.add_option("-n,--name", options.name, "name of the device [its own: ublkb0]");
    verb.add_option("--transport", texts.transport, "auto, ublk, nbd or socket [auto]");
    verb.add_option("-o,--offset", texts.offset, "where the device begins in the image; 1M, 512K");
    verb.add_option("--sizelimit", texts.sizelimit, "size of the device [to the end of the image]");
    verb.add_flag("-r,--read-only", options.read_only, "refuse writes");
    verb.add_option("-b,--sector-size", texts.sector_size, "512, 1024, 2048 or 4096 [512]");
    // A flag, so that "--direct-io IMAGE" does not take the image for its value.
    verb.add_flag("--direct-io{on}", texts.direct_io,
                  "=on, off or auto: bypass the page cache [auto]");
    verb.add_option("--queues", options.queues,
                    "queues, a thread each [one a CPU, 4 at most; nbd: 1]");
    verb.add_option("--policy", options.policy, policy_text());
    verb.add_option("--workers", options.workers, workers_text);
    verb.add_option("--depth", options.depth, "requests in flight in each queue [128]");
    // A function: the parser takes an empty word for no value.
    verb.add_option_function<std::string>(
        "--charge", [&texts](const std::string& charge) { texts.charge = charge; },
        "whom I/O is charged to: off, issuer or a cgroup's path [off]");
    verb.add_option("--lane-idle", options.lane_idle_s, lane_idle_text);
    verb.add_option("--loop-ref", options.ref, "what the device is for [the image's path]");
    verb.add_flag("--allow-overlap", options.allow_overlap,
                  "others may have the same bytes of the image");
    verb.add_option("--device", options.device, "this one: /dev/ublkbN or /dev/nbdN [a free one]");
    verb.add_flag("--autoclear", options.autoclear, "ends when its last user has gone");
    verb.add_option("--partscan", texts.partscan, "on or off: nodes for partitions [on]");
    verb.add_flag("--watch-size", options.watch_size, "grows and shrinks as the image does");
    verb.add_option("--on-error", texts.on_error,
                    "report, stop or pause: what follows a failed write [report]");
    add_metrics_option(verb, texts);
    verb.add_option("--sandbox", texts.sandbox,
                    "on, off or require: privileges are given up after the start [on]");
    verb.add_flag("--ublk", texts.ublk, "as --transport ublk; with --nbd, both at once");
    add_export_options(verb, options.exported, texts);
}

void add_verbs(CLI::App& app, Parsed& parsed) {
    auto& attach = *app.add_subcommand("attach", "make an image a block device; prints its path");
    attach.add_option("IMAGE", parsed.attach.options.image, image_text)->required();
    add_device_options(attach, parsed.attach.options, parsed.texts.attach);
    attach.add_flag("--preallocate", parsed.attach.preallocate,
                    "blocks for all of the device first: no write finds the disk full");
    attach.add_flag("--json", parsed.attach.json, "print an object instead of the path");

    auto& serve = *app.add_subcommand("serve", "the same in the foreground, until ^C or detach");
    // Not required: --recover knows it from the state file.
    serve.add_option("IMAGE", parsed.serve.request.options.image, image_text);
    add_device_options(serve, parsed.serve.request.options, parsed.texts.serve);
    serve.add_flag("--stdio", parsed.serve.request.stdio,
                   "serve the NBD client on standard input, a socket, and end with it");
    add_config_options(serve, parsed.serve);
    serve.add_option("--recover", parsed.serve.request.recover_name)->group("");
    serve.add_flag("--take-over", parsed.serve.request.take_over)->group("");
    serve.add_flag("--force", parsed.serve.request.force)->group("");
    serve.add_option("--ready-fd", parsed.texts.ready_fd)->group("");

    auto& detach = *app.add_subcommand("detach", "end devices; returns when they are gone");
    detach.add_option("TARGET", parsed.detach.targets, "device, name, image or URI");
    detach.add_flag("-a,--all", parsed.detach.all, "every device");
    detach.add_option("--timeout", parsed.detach.timeout_s,
                      "seconds to wait for others to let go of the device [10]");
    detach.add_flag("--force", parsed.detach.force, "take it from whoever uses it");
    detach.add_flag("--json", parsed.detach.json, "print what was detached");

    auto& list = *app.add_subcommand("list", "all devices");
    list.add_flag("--lanes", parsed.list.lanes, "the cgroups that their I/O is charged to");
    list.add_flag("--json", parsed.list.json, "print an array of objects");

    auto& status = *app.add_subcommand("status", "one device and its counters");
    status.add_option("TARGET", parsed.status.target, "device, name, image or URI")->required();
    status.add_flag("--json", parsed.status.json, "print an object");

    auto& resize = *app.add_subcommand("resize", "give a device in use the size its image has now");
    resize.add_option("TARGET", parsed.resize.target, "device, name, image or URI")->required();
    resize.add_flag("--json", parsed.resize.json, "print an object");

    auto& set = *app.add_subcommand("set", "change a device in use: image, size, policy, lanes");
    set.add_option("TARGET", parsed.set.target, "device, name, image or URI")->required();
    control::Change& change = parsed.set.change;
    set.add_option("--policy", change.dispatching.policy, policy_text());
    set.add_option("--workers", change.dispatching.workers, workers_text);
    set.add_option("--lane-idle", change.lane_idle_s, lane_idle_text);
    set.add_flag("--reap-lanes", change.reap_lanes, "end the lanes that have nothing to do, now");
    add_set_options(set, change, parsed.texts.set);
    set.add_flag("--json", parsed.set.json, "print an object");

    auto& recover = *app.add_subcommand("recover", "give devices whose server died a new one");
    recover.add_option("TARGET", parsed.recover.targets, "device, name, image or URI");
    recover.add_flag("-a,--all", parsed.recover.all, "every device whose server died");
    recover.add_flag("--json", parsed.recover.json, "print the devices as objects");

    auto& upgrade = *app.add_subcommand("upgrade", "this program takes over from older servers");
    upgrade.add_option("TARGET", parsed.upgrade.targets, "device, name, image or URI");
    upgrade.add_flag("-a,--all", parsed.upgrade.all, "every device that is served");
    upgrade.add_flag("--force", parsed.upgrade.force, "cut off clients of sockets");
    upgrade.add_flag("--json", parsed.upgrade.json, "print the devices as objects");

    app.add_subcommand("losetup", "all of this in the words of losetup(8)");

    auto& doctor = *app.add_subcommand("doctor", "what this host can do, and what to change");
    doctor.add_flag("--json", parsed.doctor.json, "print an object");

    add_look_verbs(app, parsed);
    add_configured_verbs(app, parsed.up, parsed.down);
    add_system_verbs(app, parsed.udev_properties, parsed.systemd_generator);
}

Status read_transport(const DeviceTexts& texts, control::DeviceOptions& options) {
    using enum control::TransportChoice;
    if (!texts.transport.empty()) {
        const auto transport = control::parse_transport(texts.transport);
        if (!transport) return std::unexpected(transport.error());
        if (texts.ublk && *transport != ublk) {
            return fail(EINVAL, "--ublk and --transport {}: choose one", texts.transport);
        }
        options.transport = *transport;
    } else if (texts.ublk) {
        options.transport = ublk;
    } else {
        options.transport = texts.nbd.empty() ? automatic : socket;
    }
    return {};
}

Status read_export_texts(const DeviceTexts& texts, control::ExportOptions& options) {
    for (const std::string& text : texts.nbd) {
        auto address = control::parse_address(text);
        if (!address) return fail(address.error().number, "--nbd: {}", address.error().message);
        options.addresses.push_back(std::move(*address));
    }
    const auto tls = control::parse_tls(texts.tls);
    if (!tls) return std::unexpected(tls.error());
    const auto request_max = parse_size(texts.request_max, "--max-request");
    if (!request_max) return std::unexpected(request_max.error());
    const auto inflight_max = parse_size(texts.inflight_max, "--max-inflight");
    if (!inflight_max) return std::unexpected(inflight_max.error());
    options.tls = *tls;
    options.request_bytes_max = *request_max;
    options.in_flight_bytes = *inflight_max;
    return {};
}

Status read_sector_size(const std::optional<std::string>& text, control::DeviceOptions& options) {
    if (!text) return {};
    const auto size = parse_size(*text, "--sector-size");
    if (!size) return std::unexpected(size.error());
    // 0 stands for none given, and is none. What does not fit is none either: check_options.
    if (*size == 0) return fail(EINVAL, "--sector-size 0: use 512, 1024, 2048 or 4096");
    options.sector_size_bytes = static_cast<u32>(std::min<u64>(*size, ~u32{0}));
    return {};
}

Status read_texts(const DeviceTexts& texts, control::DeviceOptions& options) {
    const auto offset = parse_size(texts.offset, "--offset");
    if (!offset) return std::unexpected(offset.error());
    const auto sizelimit = parse_size(texts.sizelimit, "--sizelimit");
    if (!sizelimit) return std::unexpected(sizelimit.error());
    const auto direct_io = control::parse_direct_io(texts.direct_io);
    if (!direct_io) return std::unexpected(direct_io.error());
    if (texts.metrics) {
        TRY(control::check_metrics(*texts.metrics));
        options.metrics = *texts.metrics;
    }
    if (texts.charge) {
        TRY(control::check_charge(*texts.charge));
        options.charge = *texts.charge;
    }
    const auto sandbox = control::parse_sandbox(texts.sandbox);
    if (!sandbox) return std::unexpected(sandbox.error());
    options.sandbox = *sandbox;
    TRY(read_transport(texts, options));
    TRY(read_export_texts(texts, options.exported));

    if (texts.partscan && *texts.partscan != "on" && *texts.partscan != "off") {
        return fail(EINVAL, "--partscan {}: use on or off", *texts.partscan);
    }
    if (texts.partscan) options.partscan = *texts.partscan == "on";
    const auto on_error = control::parse_on_error(texts.on_error);
    if (!on_error) return std::unexpected(on_error.error());
    options.on_error = *on_error;
    options.offset_bytes = *offset;
    options.sizelimit_bytes = *sizelimit;
    TRY(read_sector_size(texts.sector_size, options));
    options.direct_io = *direct_io;
    return control::check_options(options);
}

int refuse(const std::string& message, int code) {
    print_error(message);
    return code;
}

std::expected<Command, int> bad_value(const Status& status) {
    return std::unexpected(refuse(status.error().message, exit_failed));
}

std::unexpected<int> usage(const std::string& verb, const char* what) {
    return std::unexpected(
        refuse(fmt::format("{}: {}; see ringloop {} --help", verb, what, verb), exit_usage));
}

std::expected<Command, int> serve_command(Parsed& parsed) {
    control::ServeRequest& request = parsed.serve.request;
    if (!parsed.serve.config_name.empty()) {
        const bool alone = request == control::ServeRequest{} &&
                           parsed.texts.serve == DeviceTexts{} && parsed.texts.ready_fd < 0;
        if (!alone) return usage("serve", "--config NAME: the file says everything else");
        return parsed.serve;
    }
    if (request.options.image.empty() == request.recover_name.empty()) {
        return usage("serve", "no image given");
    }
    if ((request.take_over && request.recover_name.empty()) ||
        (request.force && !request.take_over)) {
        return usage("serve", "--take-over is of --recover, --force of --take-over");
    }
    if (parsed.texts.ready_fd >= 0) request.ready_fd = parsed.texts.ready_fd;
    if (!request.recover_name.empty()) return parsed.serve;
    const Status read = read_texts(parsed.texts.serve, request.options);
    if (!read) return bad_value(read);
    const bool plain = request.options.exported.addresses.empty() && request.options.name.empty() &&
                       request.options.transport == control::TransportChoice::automatic &&
                       request.options.metrics.empty() &&
                       control::charges_server(request.options.charge);
    if (request.stdio && !plain) {
        return usage(
            "serve",
            "--stdio is one connection: no --transport, --ublk, --nbd, --name, --charge or "
            "--metrics");
    }
    return parsed.serve;
}

std::expected<Command, int> command_of(const std::string& verb, Parsed& parsed) {
    if (verb == "attach") {
        const Status read = read_texts(parsed.texts.attach, parsed.attach.options);
        if (!read) return bad_value(read);
        if (parsed.attach.preallocate && parsed.attach.options.read_only) {
            return usage(verb, "--preallocate is for what is written, not for --read-only");
        }
        return parsed.attach;
    }
    if (verb == "serve") return serve_command(parsed);
    if (verb == "detach") {
        if (parsed.detach.targets.empty() != parsed.detach.all) {
            return usage(verb, "name the devices, or give --all");
        }
        return parsed.detach;
    }
    if (verb == "set") {
        const Status read = read_set_texts(parsed.texts.set, parsed.set.change);
        if (!read) return bad_value(read);
        const Status checked = control::check_change(parsed.set.change);
        if (!checked) return usage(verb, checked.error().message.c_str());
        return parsed.set;
    }
    if (verb == "recover") {
        if (parsed.recover.targets.empty() != parsed.recover.all) {
            return usage(verb, "name the devices, or give --all");
        }
        return parsed.recover;
    }
    if (verb == "upgrade") {
        if (parsed.upgrade.targets.empty() != parsed.upgrade.all) {
            return usage(verb, "name the devices, or give --all");
        }
        return parsed.upgrade;
    }
    auto look = look_command_of(verb, parsed);
    if (!look) return usage(verb, look.error().message.c_str());
    if (*look) return std::move(**look);
    if (verb == "up" || verb == "down") {
        const Configured& wanted = verb == "up" ? parsed.up.configured : parsed.down.configured;
        if (wanted.names.empty() != wanted.all)
            return usage(verb, "name the devices, or give --all");
        if (verb == "up") return parsed.up;
        return parsed.down;
    }
    if (verb == "udev-properties") return parsed.udev_properties;
    if (verb == "systemd-generator") return parsed.systemd_generator;
    if (verb == "list") return parsed.list;
    if (verb == "status") return parsed.status;
    if (verb == "resize") return parsed.resize;
    return parsed.doctor;
}

// How the program was called, or its first word: "losetup". The number of words to skip, 0: not so.
int words_before_losetup(int count, const char* const* arguments) {
    constexpr std::string_view word = "losetup";
    const std::string_view program = count > 0 ? arguments[0] : "";
    if (program.substr(program.rfind('/') + 1) == word) return 1;
    return count > 1 && arguments[1] == word ? 2 : 0;
}

// The options of a device by themselves.
struct DeviceParser {
    DeviceParser() {
        app.add_option("IMAGE", options.image, image_text)->required();
        add_device_options(app, options, texts);
    }

    CLI::App app;
    DeviceTexts texts;
    control::DeviceOptions options;
};

}  // namespace

std::vector<control::ConfigKey> config_keys() { return config_keys_of(DeviceParser().app); }

Result<control::DeviceOptions> parse_device_options(const std::vector<std::string>& words) {
    DeviceParser parser;
    try {
        parser.app.parse(std::vector<std::string>(words.rbegin(), words.rend()));
    } catch (const CLI::ParseError& error) {
        return fail(EINVAL, "{}", error.what());
    }
    TRY(read_texts(parser.texts, parser.options));
    return std::move(parser.options);
}

std::expected<Command, int> parse_arguments(int count, const char* const* arguments) {
    if (const int skipped = words_before_losetup(count, arguments); skipped > 0) {
        return Losetup{{arguments + skipped, arguments + count}};
    }
    CLI::App app("Attach disk images as block devices, in user space, on io_uring.", "ringloop");
    app.set_version_flag("--version", "ringloop " + std::string(version));
    app.require_subcommand(1);
    app.set_help_flag("-h,--help", "this text, or that of a verb");
    Parsed parsed;
    add_verbs(app, parsed);
    try {
        app.parse(count, arguments);
        return command_of(app.get_subcommands().front()->get_name(), parsed);
    } catch (const CLI::Success& success) {
        return std::unexpected(app.exit(success));  // --help, --version
    } catch (const CLI::ParseError& error) {
        return std::unexpected(
            refuse(fmt::format("{}; see ringloop --help", error.what()), exit_usage));
    }
}

}  // namespace ringloop::cli
