#include <nlohmann/json.hpp>

#include "cli/background.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "control/state.h"

namespace ringloop::cli {

int run(const Attach& command) {
    const auto device = start_in_background(control::serve_arguments(command.options),
                                            control::WhenInterrupted::stop);
    if (!device) return report(device.error());
    const std::string line =
        command.json ? control::dump_json(*device, true) : (*device)["device"].get<std::string>();
    return print_line(line) ? exit_done : exit_failed;
}

}  // namespace ringloop::cli
