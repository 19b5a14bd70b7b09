#include "control/hand_over.h"

#include <nlohmann/json.hpp>

#include "control/control_socket.h"
#include "control/wait.h"

namespace ringloop::control {
namespace {

// More than the server waits for requests in flight; its sync has no bound but the disk's.
constexpr u64 end_timeout_ms = 120'000;

}  // namespace

Status hand_over(const RuntimeDir& directory, const DeviceState& state, bool force) {
    const Deadline deadline(end_timeout_ms);
    const auto about = [&state](const Error& error) {
        return fail(error.number, "{}: {}", state.device, error.message);
    };
    auto server = Conversation::connect(directory.socket_path(state.name));
    if (!server) return about(server.error());
    TRY(server->ask(dump_json({{"verb", "upgrade"}, {"force", force}})));
    const auto answer = server->answer(deadline);
    if (!answer) return about(answer.error());
    const auto told = *answer ? parse_json(**answer) : std::nullopt;
    if (told && told->is_object() && told->contains("error") && (*told)["error"].is_string()) {
        return fail(EBUSY, "{}", (*told)["error"].get<std::string>());
    }
    if (server->wait_for_exit(deadline)) return {};
    return fail(ETIMEDOUT, "{}: its server does not end; see ringloop list", state.device);
}

}  // namespace ringloop::control
