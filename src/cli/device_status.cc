#include "cli/device_status.h"

#include "control/detach.h"

namespace ringloop::cli {

using nlohmann::json;

Result<json> status_of(const control::RuntimeDir& directory, const control::KnownDevice& device) {
    const control::DeviceState& state = device.state;
    if (!device.served || state.phase != control::Phase::live) {
        return control::to_json(state, device.status_word());
    }
    const auto answer = control::ask_server(directory, state.name, R"({"verb":"status"})");
    if (!answer) {
        return fail(answer.error().number, "{}: {}", state.device, answer.error().message);
    }
    auto object = control::parse_json(*answer);
    if (!object || !object->is_object()) {
        return fail(EIO,
                    "{}: its server answers something else than a status; see ringloop upgrade",
                    state.device);
    }
    return std::move(*object);
}

std::string text_of(const json& object, const char* field) {
    const auto found = object.find(field);
    if (found == object.end()) return "-";
    if (found->is_string()) return found->get<std::string>();
    if (found->is_boolean()) return found->get<bool>() ? "yes" : "no";
    if (found->is_number()) return control::dump_json(*found);
    return "-";
}

}  // namespace ringloop::cli
