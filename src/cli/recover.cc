#include <cerrno>
#include <nlohmann/json.hpp>

#include "cli/background.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "control/devices.h"

namespace ringloop::cli {
namespace {

using nlohmann::json;

Result<std::vector<std::string>> dead_names(const control::RuntimeDir& directory) {
    const auto known = control::known_devices(directory);
    if (!known) return std::unexpected(known.error());
    std::vector<std::string> names;
    for (const auto& device : known->devices) {
        if (!device.served) names.push_back(device.state.name);
    }
    return names;
}

Result<json> recover_one(const control::RuntimeDir& directory, const std::string& target) {
    const auto device = control::find_device(directory, target);
    if (!device) return std::unexpected(device.error());
    if (device->served) {
        return fail(EBUSY, "{}: its server (pid {}) lives; nothing to recover",
                    device->state.device, device->state.pid);
    }
    return start_in_background({"--recover=" + device->state.name},
                               control::WhenInterrupted::leave);
}

}  // namespace

int run(const Recover& command) {
    const auto directory = control::RuntimeDir::open();
    if (!directory) return report(directory.error());
    auto targets = command.targets;
    if (command.all) {
        auto names = dead_names(*directory);
        if (!names) return report(names.error());
        targets = std::move(*names);
    }
    int code = exit_done;
    json recovered = json::array();
    for (const std::string& target : targets) {
        auto device = recover_one(*directory, target);
        if (!device) {
            code = report(device.error());
            if (device.error().number == EINTR) break;
            continue;
        }
        if (!command.json && !print_line((*device)["device"].get<std::string>())) {
            return exit_failed;
        }
        recovered.push_back(std::move(*device));
    }
    if (command.json && !print_line(control::dump_json(recovered, true))) return exit_failed;
    return code;
}

}  // namespace ringloop::cli
