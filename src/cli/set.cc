#include "cli/background.h"
#include "cli/live_change.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "control/dispatching.h"

namespace ringloop::cli {

using nlohmann::json;

int run(const Set& command) {
    const auto change = change_live(command.target, control::to_question(command.change));
    if (!change) return report(change.error());
    const json& answer = change->answer;
    const std::string& device = change->state.device;
    if (!has(answer, "policy", json::value_t::string) ||
        !has(answer, "previous_policy", json::value_t::string) ||
        !has(answer, "workers", json::value_t::number_unsigned) ||
        !has(answer, "previous_workers", json::value_t::number_unsigned)) {
        return report({EIO, device + ": its server answers something else than a policy"});
    }
    if (command.json) {
        return print_line(control::dump_json(answer, true)) ? exit_done : exit_failed;
    }
    const control::Dispatched dispatched = {
        .policy = answer["policy"].get<std::string>(),
        .workers = answer["workers"].get<u32>(),
        .previous_policy = answer["previous_policy"].get<std::string>(),
        .previous_workers = answer["previous_workers"].get<u32>()};
    return print_line(control::to_text(dispatched, device)) ? exit_done : exit_failed;
}

}  // namespace ringloop::cli
