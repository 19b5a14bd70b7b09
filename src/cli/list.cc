#include <nlohmann/json.hpp>

#include "base/size.h"
#include "cli/background.h"
#include "cli/device_status.h"
#include "cli/lanes.h"
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
                        control::transports_text(state), device.health_word(),
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

// The lanes of all: each live server is asked. One that does not answer hides no other.
std::string lanes_of(const control::RuntimeDir& directory,
                     std::vector<control::KnownDevice> devices, bool as_json) {
    std::vector<Asked> asked;
    for (control::KnownDevice& device : devices) {
        auto status = status_of(directory, device);
        if (!status) print_warning(status.error().message);
        asked.push_back({std::move(device), std::move(status)});
    }
    return as_json ? control::dump_json(lanes_json(asked), true) : lanes_table(asked);
}

std::string devices_of(const std::vector<control::KnownDevice>& devices, bool as_json) {
    return as_json ? control::dump_json(array_of(devices), true) : table_of(devices);
}

}  // namespace

// Without devices nothing is printed, as losetup does.
int run(const List& command) {
    const auto directory = control::RuntimeDir::open();
    if (!directory) return report(directory.error());
    auto known = control::known_devices(*directory);
    if (!known) return report(known.error());
    for (const Error& error : known->unreadable) print_warning(error.message);
    if (!command.json && known->devices.empty()) return exit_done;
    const std::string text = command.lanes
                                 ? lanes_of(*directory, std::move(known->devices), command.json)
                                 : devices_of(known->devices, command.json);
    return print_line(text) ? exit_done : exit_failed;
}

}  // namespace ringloop::cli
