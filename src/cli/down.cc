#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "cli/background.h"
#include "cli/config.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "control/config_file.h"
#include "control/detach.h"
#include "control/kernel.h"

namespace ringloop::cli {
namespace {

// The device that is gone now; "" where there was none. A name without a file and without a device
// is a mistake.
Result<std::string> take_down(const control::RuntimeDir& directory,
                              const std::string& config_directory, const std::string& name,
                              const Down& command) {
    TRY(control::check_name(name));
    auto state = directory.read_state(name);
    if (!state && state.error().number != ENOENT) {
        return fail(EINVAL, "{}; remove this file", state.error().message);
    }
    if (!state) {
        const std::string path = control::config_path(config_directory, name);
        if (control::path_exists(path)) return "";
        return fail(ENOENT, "'{}': neither attached, nor is there {}; see ringloop list", name,
                    path);
    }
    const bool served = directory.is_locked(name);
    std::string device = state->device;
    TRY(control::detach(directory, {.state = std::move(*state), .served = served},
                        {.timeout_ms = u64{command.timeout_s} * 1000, .force = command.force}));
    return device;
}

}  // namespace

int run(const Down& command) {
    const std::string config_directory = control::config_directory(command.configured.directory);
    auto names =
        configured_names(config_directory, command.configured.names, command.configured.all);
    if (!names) return report(names.error());
    // One image may lie on the device of another.
    if (command.configured.all) std::ranges::reverse(*names);
    const auto directory = control::RuntimeDir::open();
    if (!directory) return report(directory.error());
    int code = exit_done;
    nlohmann::json detached = nlohmann::json::array();
    for (const std::string& name : *names) {
        const auto device = take_down(*directory, config_directory, name, command);
        if (!device) {
            code = report(device.error());
        } else if (!device->empty()) {
            detached.push_back(*device);
        }
    }
    if (command.configured.json &&
        !print_line(control::dump_json({{"detached", detached}}, true))) {
        return exit_failed;
    }
    return code;
}

}  // namespace ringloop::cli
