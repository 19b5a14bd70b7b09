#include "control/detach.h"

#include <nlohmann/json.hpp>

#include "cli/background.h"
#include "cli/output.h"
#include "cli/verbs.h"

namespace ringloop::cli {
namespace {

// What --all means: everything there is when it is asked.
Result<std::vector<std::string>> all_names(const control::RuntimeDir& directory) {
    const auto known = control::known_devices(directory);
    if (!known) return std::unexpected(known.error());
    std::vector<std::string> names;
    for (const auto& device : known->devices) names.push_back(device.state.name);
    return names;
}

Result<std::string> detach_one(const control::RuntimeDir& directory, const std::string& target,
                               const Detach& command) {
    const auto device = control::find_device(directory, target);
    if (!device) return std::unexpected(device.error());
    TRY(control::detach(directory, *device,
                        {.timeout_ms = u64{command.timeout_s} * 1000, .force = command.force}));
    return device->state.device;
}

}  // namespace

int run(const Detach& command) {
    const auto directory = control::RuntimeDir::open();
    if (!directory) return report(directory.error());
    auto targets = command.targets;
    if (command.all) {
        auto names = all_names(*directory);
        if (!names) return report(names.error());
        targets = std::move(*names);
    }
    // One that fails keeps none of the others attached.
    int code = exit_done;
    nlohmann::json detached = nlohmann::json::array();
    for (const std::string& target : targets) {
        const auto device = detach_one(*directory, target, command);
        if (device) {
            detached.push_back(*device);
        } else {
            code = report(device.error());
        }
    }
    if (command.json && !print_line(control::dump_json({{"detached", detached}}, true))) {
        return exit_failed;
    }
    return code;
}

}  // namespace ringloop::cli
