#include "cli/background.h"
#include "cli/live_change.h"
#include "cli/output.h"
#include "cli/rates.h"
#include "cli/verbs.h"
#include "control/watching.h"

namespace ringloop::cli {
namespace {

using control::Counters;
using control::KnownDevice;
using control::RuntimeDir;
using nlohmann::json;

// A server that ends stops answering before it has ended; which of both it was is known then.
constexpr u64 end_timeout_ms = 2'000;

Result<Counters> counters_of(const RuntimeDir& directory, const KnownDevice& device) {
    const auto answer = ask_live(directory, device, {{"verb", "counters"}});
    if (!answer) return std::unexpected(answer.error());
    auto counters = control::parse_counters(*answer);
    if (!counters) {
        return fail(EPROTO, "{}: {}", device.state.device, counters.error().message);
    }
    return counters;
}

bool print(const Stats& command, const control::DeviceState& state, const Rates& rates) {
    const std::string now = control::utc_now();
    if (command.json) {
        json object = to_json(rates);
        object["name"] = state.name;
        object["device"] = state.device;
        object["time"] = now;
        return print_line(control::dump_json(object, !command.watch));
    }
    const std::string head = command.watch ? fmt::format("{}  {}\n", now, state.device) : "";
    return print_line(head + to_text(rates) + (command.watch ? "\n" : ""));
}

// What it was that did not answer.
Error lost(const RuntimeDir& directory, const KnownDevice& device, const UniqueFd& process,
           const control::Signals& signals, Error error) {
    const auto woken = control::wait_beside(signals, process, control::Deadline(end_timeout_ms));
    if (woken && *woken == control::Woken::ended) return end_of(directory, device.state);
    return error;
}

int watch(const Stats& command, const RuntimeDir& directory, const KnownDevice& device,
          const control::Signals& signals) {
    const auto interval_ms = static_cast<u64>(command.interval_s * 1000);
    auto before = counters_of(directory, device);
    if (!before) return report(before.error());
    const UniqueFd process = control::process_of(directory, device.state);
    if (!process) return report(end_of(directory, device.state));
    for (;;) {
        const auto woken = control::wait_beside(signals, process, control::Deadline(interval_ms));
        if (!woken) return report(woken.error());
        if (*woken == control::Woken::ended) return report(end_of(directory, device.state));
        if (*woken == control::Woken::signal) {
            return command.watch ? exit_done : report({EINTR, "interrupted"});
        }
        auto now = counters_of(directory, device);
        if (!now) return report(lost(directory, device, process, signals, now.error()));
        if (!print(command, device.state, rates_between(*before, *now))) return exit_failed;
        if (!command.watch) return exit_done;
        before = std::move(now);
    }
}

}  // namespace

int run(const Stats& command) {
    const auto directory = RuntimeDir::open();
    if (!directory) return report(directory.error());
    const auto device = control::find_device(*directory, command.target);
    if (!device) return report(device.error());
    const auto signals = control::Signals::block();
    if (!signals) return report(signals.error());
    return watch(command, *directory, *device, *signals);
}

}  // namespace ringloop::cli
