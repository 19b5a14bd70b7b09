#include "cli/background.h"

#include <cerrno>
#include <nlohmann/json.hpp>

#include "cli/arguments.h"
#include "cli/output.h"
#include "control/state.h"

namespace ringloop::cli {

using nlohmann::json;

Result<json> start_in_background(const std::vector<std::string>& arguments,
                                 control::WhenInterrupted when_interrupted) {
    const auto line = control::spawn_server(arguments, when_interrupted);
    if (!line) return std::unexpected(line.error());
    auto device = control::parse_json(*line);
    if (!device || !device->is_object() || !device->contains("device") ||
        !(*device)["device"].is_string()) {
        return fail(EIO, "the server said something else than its device: {}; see ringloop list",
                    *line);
    }
    if (device->contains("note") && (*device)["note"].is_string()) {
        print_error((*device)["note"].get<std::string>());
    }
    print_warnings(*device);
    return std::move(*device);
}

void print_warnings(const json& object) {
    const auto found = object.find("warnings");
    if (found == object.end() || !found->is_array()) return;
    for (const json& warning : *found) {
        if (warning.is_string()) print_warning(warning.get<std::string>());
    }
}

int report(const Error& error) {
    print_error(error.message);
    return exit_failed;
}

}  // namespace ringloop::cli
