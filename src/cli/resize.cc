#include "control/resize.h"

#include <nlohmann/json.hpp>

#include "cli/background.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "control/detach.h"
#include "control/devices.h"

namespace ringloop::cli {
namespace {

using nlohmann::json;

// More than the sum of what the server waits for: requests in flight, and the kernel.
constexpr u64 resize_timeout_ms = 60'000;

Result<json> resize(const control::RuntimeDir& directory, const control::DeviceState& state) {
    const auto text =
        control::ask_server(directory, state.name, R"({"verb":"resize"})", resize_timeout_ms);
    if (!text) return fail(text.error().number, "{}: {}", state.device, text.error().message);
    auto object = control::parse_json(*text);
    const auto is = [&object](const char* field, json::value_t kind) {
        return object && object->is_object() && object->contains(field) &&
               (*object)[field].type() == kind;
    };
    if (is("error", json::value_t::string)) {
        return fail(EIO, "{}", (*object)["error"].get<std::string>());
    }
    const bool understood = is("size_bytes", json::value_t::number_unsigned) &&
                            is("previous_size_bytes", json::value_t::number_unsigned);
    if (understood) return std::move(*object);
    return fail(EIO, "{}: its server answers something else than a size", state.device);
}

}  // namespace

int run(const Resize& command) {
    const auto directory = control::RuntimeDir::open();
    if (!directory) return report(directory.error());
    const auto device = control::find_device(*directory, command.target);
    if (!device) return report(device.error());
    const control::DeviceState& state = device->state;
    if (!device->served) {
        return report({ESRCH, fmt::format("{}: its server died: ringloop recover {}", state.device,
                                          state.name)});
    }
    const auto object = resize(*directory, state);
    if (!object) return report(object.error());
    print_warnings(*object);
    if (command.json) {
        return print_line(control::dump_json(*object, true)) ? exit_done : exit_failed;
    }
    const control::Resized resized = {
        .size_bytes = (*object)["size_bytes"].get<u64>(),
        .previous_bytes = (*object)["previous_size_bytes"].get<u64>()};
    return print_line(control::to_text(resized, state.device)) ? exit_done : exit_failed;
}

}  // namespace ringloop::cli
