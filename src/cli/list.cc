#include <nlohmann/json.hpp>

#include "base/size.h"
#include "cli/background.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "control/devices.h"

namespace ringloop::cli {
namespace {

std::string table_of(const std::vector<control::KnownDevice>& devices) {
    std::vector<std::vector<std::string>> rows = {
        {"NAME", "DEVICE", "SIZE", "TRANSPORT", "STATE", "PID", "IMAGE"}};
    for (const control::KnownDevice& device : devices) {
        const control::DeviceState& state = device.state;
        rows.push_back({state.name, state.device, format_size(state.size_bytes),
                        control::transports_text(state), device.status_word(),
                        device.served ? fmt::format("{}", state.pid) : "-", state.backing_file});
    }
    return format_table(rows);
}

nlohmann::json array_of(const std::vector<control::KnownDevice>& devices) {
    nlohmann::json array = nlohmann::json::array();
    for (const control::KnownDevice& device : devices) {
        array.push_back(control::to_json(device.state, device.status_word()));
    }
    return array;
}

}  // namespace

// Without devices nothing is printed, as losetup does.
int run(const List& command) {
    const auto directory = control::RuntimeDir::open();
    if (!directory) return report(directory.error());
    const auto known = control::known_devices(*directory);
    if (!known) return report(known.error());
    for (const Error& error : known->unreadable) print_warning(error.message);
    if (!command.json && known->devices.empty()) return exit_done;
    const std::string text = command.json ? control::dump_json(array_of(known->devices), true)
                                          : table_of(known->devices);
    return print_line(text) ? exit_done : exit_failed;
}

}  // namespace ringloop::cli
