#include <cerrno>
#include <chrono>
#include <nlohmann/json.hpp>

#include "cli/background.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "control/devices.h"

namespace ringloop::cli {
namespace {

using nlohmann::json;

Result<std::vector<std::string>> served_names(const control::RuntimeDir& directory) {
    const auto known = control::known_devices(directory);
    if (!known) return std::unexpected(known.error());
    std::vector<std::string> names;
    for (const auto& device : known->devices) {
        if (device.served) names.push_back(device.state.name);
    }
    return names;
}

Result<json> upgrade_one(const control::RuntimeDir& directory, const std::string& target,
                         bool force) {
    const auto device = control::find_device(directory, target);
    if (!device) return std::unexpected(device.error());
    const control::DeviceState& state = device->state;
    if (!device->served) {
        return fail(ESRCH, "{}: its server died: ringloop recover {}", state.device, state.name);
    }
    const auto begin = std::chrono::steady_clock::now();
    std::vector<std::string> arguments = {"--recover=" + state.name, "--take-over"};
    if (force) arguments.emplace_back("--force");
    // ^C may come too late to keep the old server.
    auto next = start_in_background(arguments, control::WhenInterrupted::leave);
    // An older ringloop only ends, and a server may die while it is asked.
    if (!next && !directory.is_locked(state.name)) {
        next = start_in_background({"--recover=" + state.name}, control::WhenInterrupted::leave);
    }
    if (!next) return next;
    const auto took = std::chrono::steady_clock::now() - begin;
    (*next)["previous_pid"] = state.pid;
    (*next)["upgrade_ms"] = std::chrono::duration_cast<std::chrono::milliseconds>(took).count();
    return next;
}

// An old server that only ends does not say when its requests began to wait.
std::string text_of(const json& device) {
    const u64 waited_ms = device.contains("pause_us") ? device.value("pause_us", u64{0}) / 1000 + 1
                                                      : device["upgrade_ms"].get<u64>();
    return fmt::format("{}: served by pid {} now, {} before; requests waited for {} ms at most",
                       device["device"].get<std::string>(), device.value("pid", 0),
                       device["previous_pid"].get<int>(), waited_ms);
}

}  // namespace

int run(const Upgrade& command) {
    const auto directory = control::RuntimeDir::open();
    if (!directory) return report(directory.error());
    auto targets = command.targets;
    if (command.all) {
        auto names = served_names(*directory);
        if (!names) return report(names.error());
        targets = std::move(*names);
    }
    int code = exit_done;
    json upgraded = json::array();
    for (const std::string& target : targets) {
        auto device = upgrade_one(*directory, target, command.force);
        if (!device) {
            code = report(device.error());
            continue;
        }
        if (!command.json && !print_line(text_of(*device))) return exit_failed;
        upgraded.push_back(std::move(*device));
    }
    if (command.json && !print_line(control::dump_json(upgraded, true))) return exit_failed;
    return code;
}

}  // namespace ringloop::cli
