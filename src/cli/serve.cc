#include <cerrno>
#include <string>
#include <utility>

#include "cli/background.h"
#include "cli/config.h"
#include "cli/verbs.h"
#include "control/config_file.h"
#include "control/configured.h"
#include "control/server.h"

namespace ringloop::cli {
namespace {

// What the file says; a device that a dead server left is taken over, for its users wait, and so is
// one that `up` has attached, without its users noticing: a unit that is started has it from then
// on.
Result<control::ServeRequest> configured_request(const Serve& command) {
    auto options = configured_options(control::config_directory(command.config_directory),
                                      command.config_name);
    if (!options) return std::unexpected(std::move(options).error());
    const auto directory = control::RuntimeDir::open();
    if (!directory) return std::unexpected(directory.error());
    const auto found = control::find_configured(*directory, *options);
    if (!found) return std::unexpected(found.error());
    control::ServeRequest request = command.request;
    if (found->standing == control::Standing::dead) {
        request.recover_name = options->name;
    } else if (found->standing == control::Standing::attached) {
        // In the foreground, and then it is not given away, or attached by a person.
        const std::string unit = control::unit_of(found->state);
        if (!unit.empty()) {
            return fail(EEXIST, "'{}' runs already: {} is served by {} (pid {}); stop that first",
                        options->name, found->state.device, unit, found->state.pid);
        }
        request.recover_name = options->name;
        request.take_over = true;
    } else {
        request.options = std::move(*options);
    }
    return request;
}

}  // namespace

int run(const Serve& command) {
    if (command.config_name.empty()) return control::serve(command.request);
    const auto request = configured_request(command);
    return request ? control::serve(*request) : report(request.error());
}

}  // namespace ringloop::cli
