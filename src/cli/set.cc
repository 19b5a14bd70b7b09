#include "control/set.h"

#include "cli/background.h"
#include "cli/live_change.h"
#include "cli/output.h"
#include "cli/verbs.h"

namespace ringloop::cli {
namespace {

using nlohmann::json;

bool is_about_dispatching(const json& answer) {
    return has(answer, "policy", json::value_t::string) &&
           has(answer, "previous_policy", json::value_t::string) &&
           has(answer, "workers", json::value_t::number_unsigned) &&
           has(answer, "previous_workers", json::value_t::number_unsigned);
}

std::string dispatching_text(const json& answer, const std::string& device) {
    const control::Dispatched dispatched = {
        .policy = answer["policy"].get<std::string>(),
        .workers = answer["workers"].get<u32>(),
        .previous_policy = answer["previous_policy"].get<std::string>(),
        .previous_workers = answer["previous_workers"].get<u32>()};
    return control::to_text(dispatched, device);
}

}  // namespace

int run(const Set& command) {
    const auto change = change_live(command.target, control::to_question(command.change));
    if (!change) return report(change.error());
    const json& answer = change->answer;
    const std::string& device = change->state.device;
    if (!is_about_dispatching(answer)) {
        return report({EIO, device + ": its server answers something else than a policy"});
    }
    const auto lanes = control::lanes_changed_in(answer, command.change);
    if (!lanes) {
        return report({EIO, device +
                                ": its server is older than lanes; detach it and attach the image "
                                "again"});
    }
    if (command.json) {
        return print_line(control::dump_json(answer, true)) ? exit_done : exit_failed;
    }
    std::string text;
    if (command.change.dispatching != control::DispatchChange{}) {
        text = dispatching_text(answer, device);
    }
    if (command.change.of_lanes()) {
        text += (text.empty() ? "" : "\n") + control::to_text(*lanes, device);
    }
    return print_line(text) ? exit_done : exit_failed;
}

}  // namespace ringloop::cli
