#include "control/resize.h"

#include "cli/background.h"
#include "cli/live_change.h"
#include "cli/output.h"
#include "cli/verbs.h"

namespace ringloop::cli {

using nlohmann::json;

int run(const Resize& command) {
    const auto change = change_live(command.target, {{"verb", "resize"}});
    if (!change) return report(change.error());
    const json& answer = change->answer;
    const std::string& device = change->state.device;
    if (!has(answer, "size_bytes", json::value_t::number_unsigned) ||
        !has(answer, "previous_size_bytes", json::value_t::number_unsigned)) {
        return report(
            {EIO,
             device + ": its server answers something else than a size; see ringloop upgrade"});
    }
    print_warnings(answer);
    if (command.json) {
        return print_line(control::dump_json(answer, true)) ? exit_done : exit_failed;
    }
    const control::Resized resized = {.size_bytes = answer["size_bytes"].get<u64>(),
                                      .previous_bytes = answer["previous_size_bytes"].get<u64>()};
    return print_line(control::to_text(resized, device)) ? exit_done : exit_failed;
}

}  // namespace ringloop::cli
