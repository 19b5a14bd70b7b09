#include <nlohmann/json.hpp>

#include "cli/background.h"
#include "cli/config.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "control/config_file.h"
#include "control/configured.h"

namespace ringloop::cli {
namespace {

using control::Standing;
using nlohmann::json;

const char* to_text(Standing before) {
    switch (before) {
        case Standing::absent: return "attached";
        case Standing::attached: return "attached already";
        case Standing::dead: return "recovered";
    }
    return "attached";
}

// The device as an object, with "done": what had to be done for it.
Result<json> bring_up(const control::RuntimeDir& directory, const std::string& config_directory,
                      const std::string& name) {
    const auto options = configured_options(config_directory, name);
    if (!options) return std::unexpected(options.error());
    const auto found = control::find_configured(directory, *options);
    if (!found) return std::unexpected(found.error());
    Result<json> device;
    switch (found->standing) {
        case Standing::absent:
            device = start_in_background(control::serve_arguments(*options),
                                         control::WhenInterrupted::stop);
            break;
        case Standing::attached:
            device = control::to_json(found->state, control::to_text(found->state.phase));
            (*device)["unit"] = control::unit_of(found->state);
            break;
        case Standing::dead:
            device = start_in_background({"--recover=" + name}, control::WhenInterrupted::leave);
            break;
    }
    if (device) (*device)["done"] = to_text(found->standing);
    return device;
}

}  // namespace

int run(const Up& command) {
    const std::string config_directory = control::config_directory(command.configured.directory);
    const auto names =
        configured_names(config_directory, command.configured.names, command.configured.all);
    if (!names) return report(names.error());
    const auto directory = control::RuntimeDir::open();
    if (!directory) return report(directory.error());
    // One that fails keeps none of the others from being attached.
    int code = exit_done;
    json devices = json::array();
    for (const std::string& name : *names) {
        auto device = bring_up(*directory, config_directory, name);
        if (!device) {
            code = report(device.error());
            if (device.error().number == EINTR) break;
            continue;
        }
        const std::string path = (*device)["device"].get<std::string>();
        if ((*device)["done"] == to_text(Standing::attached)) {
            const std::string unit = (*device)["unit"].get<std::string>();
            print_error(unit.empty()
                            ? fmt::format("'{}' is attached already, as {}", name, path)
                            : fmt::format("'{}' is attached already, as {}, and left to {}", name,
                                          path, unit));
        }
        if (!command.configured.json && !print_line(path)) return exit_failed;
        devices.push_back(std::move(*device));
    }
    if (command.configured.json && !print_line(control::dump_json(devices, true))) {
        return exit_failed;
    }
    return code;
}

}  // namespace ringloop::cli
