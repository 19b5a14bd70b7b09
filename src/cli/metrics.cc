#include "control/metrics.h"

#include "cli/background.h"
#include "cli/live_change.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "control/detach.h"
#include "control/devices.h"

namespace ringloop::cli {
namespace {

using nlohmann::json;

// Without the newline at its end, which print_line adds.
Result<std::string> metrics_of(const control::RuntimeDir& directory,
                               const control::KnownDevice& device) {
    const auto answer = ask_live(directory, device, {{"verb", "metrics"}});
    if (!answer) return std::unexpected(answer.error());
    if (!has(*answer, "text", json::value_t::string)) {
        return fail(EPROTO,
                    "{}: its server answers something else than metrics; see ringloop upgrade",
                    device.state.device);
    }
    return (*answer)["text"].get<std::string>();
}

int print_metrics(std::string text) {
    if (text.ends_with('\n')) text.pop_back();
    if (text.empty()) return exit_done;
    return print_line(text) ? exit_done : exit_failed;
}

}  // namespace

int run(const Metrics& command) {
    const auto directory = control::RuntimeDir::open();
    if (!directory) return report(directory.error());
    if (!command.all) {
        const auto device = control::find_device(*directory, command.target);
        if (!device) return report(device.error());
        auto text = metrics_of(*directory, *device);
        return text ? print_metrics(std::move(*text)) : report(text.error());
    }
    const auto known = control::known_devices(*directory);
    if (!known) return report(known.error());
    for (const Error& error : known->unreadable) print_warning(error.message);
    // One that cannot be asked hides no other.
    int code = exit_done;
    std::vector<std::string> texts;
    for (const control::KnownDevice& device : known->devices) {
        auto text = metrics_of(*directory, device);
        if (text) {
            texts.push_back(std::move(*text));
        } else {
            code = report(text.error());
        }
    }
    const int printed = print_metrics(control::merge_metrics(texts));
    return printed == exit_done ? code : printed;
}

}  // namespace ringloop::cli
