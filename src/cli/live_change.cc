#include "cli/live_change.h"

#include "control/detach.h"
#include "control/devices.h"

namespace ringloop::cli {
namespace {

using nlohmann::json;

// More than the sum of what the server waits for: requests in flight, and the kernel.
constexpr u64 change_timeout_ms = 60'000;

}  // namespace

Result<LiveChange> change_live(const std::string& target, const json& question, int fd) {
    const auto directory = control::RuntimeDir::open();
    if (!directory) return std::unexpected(directory.error());
    auto device = control::find_device(*directory, target);
    if (!device) return std::unexpected(std::move(device).error());
    const control::DeviceState& state = device->state;
    if (!device->served) {
        return fail(ESRCH, "{}: its server died: ringloop recover {}", state.device, state.name);
    }
    const auto text = control::ask_server(*directory, state.name, control::dump_json(question),
                                          change_timeout_ms, fd);
    if (!text) return fail(text.error().number, "{}: {}", state.device, text.error().message);
    auto answer = control::parse_json(*text);
    if (!answer || !answer->is_object()) {
        return fail(EIO, "{}: its server answers no object; see ringloop upgrade", state.device);
    }
    if (has(*answer, "error", json::value_t::string)) {
        return fail(EIO, "{}", (*answer)["error"].get<std::string>());
    }
    return LiveChange{std::move(device->state), std::move(*answer)};
}

Result<json> ask_live(const control::RuntimeDir& directory, const control::KnownDevice& device,
                      const json& question) {
    const control::DeviceState& state = device.state;
    if (!device.served) {
        return fail(ESRCH, "{}: its server died: ringloop recover {}", state.device, state.name);
    }
    const auto text = control::ask_server(directory, state.name, control::dump_json(question));
    if (!text) return fail(text.error().number, "{}: {}", state.device, text.error().message);
    auto answer = control::parse_json(*text);
    if (!answer || !answer->is_object()) {
        return fail(EIO, "{}: its server answers no object; see ringloop upgrade", state.device);
    }
    if (!has(*answer, "error", json::value_t::string)) return std::move(*answer);
    const std::string refusal = (*answer)["error"].get<std::string>();
    if (!refusal.starts_with("not understood")) return fail(EIO, "{}: {}", state.device, refusal);
    return fail(EOPNOTSUPP,
                "{}: its server is older than this question; detach it and attach the image again",
                state.device);
}

std::string pause_text(const json& answer, const std::string& device) {
    if (!has(answer, "pause_us", json::value_t::number_unsigned)) return "";
    const u64 pause_us = answer["pause_us"].get<u64>();
    if (pause_us == 0) return "";
    return fmt::format("\n{}: requests waited for {}.{:03} ms", device, pause_us / 1000,
                       pause_us % 1000);
}

bool has(const json& answer, const char* field, json::value_t kind) {
    const auto found = answer.find(field);
    return found != answer.end() && found->type() == kind;
}

}  // namespace ringloop::cli
