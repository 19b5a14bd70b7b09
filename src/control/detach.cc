#include "control/detach.h"

#include <fcntl.h>

#include <nlohmann/json.hpp>

#include "control/control_socket.h"
#include "control/flush.h"
#include "control/holders.h"
#include "control/transport.h"
#include "control/wait.h"

namespace ringloop::control {
namespace {

// The sum of what a server's end may take: requests in flight, the last sync, the kernel's part.
constexpr u64 stop_timeout_ms = 240'000;
constexpr u64 node_timeout_ms = 10'000;

Error in_use(const std::string& device, const std::vector<std::string>& holders) {
    std::string who;
    for (const std::string& holder : holders) who += (who.empty() ? "" : ", ") + holder;
    if (who.empty()) who = "the kernel or another user's process holds it";
    return {EBUSY,
            fmt::format("{} is in use: {}; unmount or close it, or take it away with --force",
                        device, who)};
}

// Waits until nobody holds the device. The descriptor it returns is an exclusive claim, so that
// nobody can mount the device between this and its end; empty where we may not open it.
Result<UniqueFd> wait_until_unused(const std::string& device, const Deadline& deadline) {
    UniqueFd claim;
    std::vector<std::string> holders;
    const bool unused = wait_until(deadline, [&] {
        holders = holders_of(device);
        if (!holders.empty()) return false;
        claim.reset(::open(device.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC | O_NONBLOCK));
        return claim || errno != EBUSY;
    });
    if (!unused) return std::unexpected(in_use(device, holders));
    return claim;
}

Result<Conversation> reach_server(const RuntimeDir& directory, const std::string& name,
                                  const Deadline& deadline) {
    Result<Conversation> server = fail(0, "");
    wait_until(deadline, [&] {
        server = Conversation::connect(directory.socket_path(name));
        // A server that is just starting does not listen yet.
        return server || !directory.is_locked(name);
    });
    return server;
}

// Clients of NBD beside the kernel's driver, as the server counts them; 0 where it does not.
u64 connections_of(const RuntimeDir& directory, const DeviceState& state) {
    if (!state.nbd || state.nbd->exported.addresses.empty()) return 0;
    const auto text = ask_server(directory, state.name, R"({"verb":"status"})");
    const auto status = text ? parse_json(*text) : std::nullopt;
    if (!status || !status->is_object()) return 0;
    const auto found = status->find("connections");
    return found != status->end() && found->is_number_unsigned() ? found->get<u64>() : 0;
}

Status wait_until_disconnected(const RuntimeDir& directory, const DeviceState& state,
                               const Deadline& deadline) {
    u64 connections = 0;
    const auto none = [&] { return (connections = connections_of(directory, state)) == 0; };
    if (wait_until(deadline, none)) return {};
    return fail(EBUSY, "{} is in use: {} connected; disconnect, or take it away with --force",
                state.device,
                connections == 1 ? "one client is" : fmt::format("{} clients are", connections));
}

Status end_server(const RuntimeDir& directory, const DeviceState& state, UniqueFd claim,
                  const Deadline& deadline, bool force) {
    auto server = reach_server(directory, state.name, deadline);
    if (!server && !directory.is_locked(state.name) && is_gone(state)) return {};
    if (!server) return fail(server.error().number, "{}: {}", state.device, server.error().message);
    TRY(server->ask(R"({"verb":"stop"})"));

    const Deadline stopped(stop_timeout_ms);
    if (claim) {
        // The kernel frees a disk after its last close, and the server waits for that. (Of nbd.ko
        // the node stays; there the server waits for nothing.)
        wait_until(stopped, [&] { return server->answered() || nodes_of(state.device).empty(); });
        claim.reset();
    }
    const auto answer = server->answer(stopped);
    if (!answer) return fail(answer.error().number, "{}: {}", state.device, answer.error().message);
    if (*answer) {
        const auto told = parse_json(**answer);
        if (told && told->is_object() && told->contains("error") && (*told)["error"].is_string()) {
            return fail(EIO, "{}: {}", state.device, (*told)["error"].get<std::string>());
        }
    }
    // Without an answer it ended for another reason meanwhile; what counts is what is left.
    // Somebody from whom it was taken may keep the number of a device of nbd.ko in use, no more.
    const bool may_stay = force && state.transport == TransportChoice::nbd;
    const auto gone = [&] { return is_gone(state) || may_stay; };
    const bool ended =
        server->wait_for_exit(stopped) && wait_until(Deadline(node_timeout_ms), gone);
    if (ended && !directory.is_locked(state.name)) return {};
    return fail(
        EBUSY,
        "{}: its server ended but the device is still there; see dmesg, then detach it again",
        state.device);
}

// The server is gone, so this process does its part.
Status remove_dead(const RuntimeDir& directory, const std::string& name,
                   const DetachOptions& options) {
    auto lock = directory.lock(name);
    if (!lock) return std::unexpected(std::move(lock).error());
    const auto state = directory.read_state(name);
    if (!state) return std::unexpected(state.error());
    const auto remains = remains_of(*state);
    if (!remains) return std::unexpected(remains.error());
    if (*remains != Remains::none) {
        const Deadline deadline(options.timeout_ms);
        const auto unused = [&] { return holders_of(state->device).empty(); };
        if (!options.force && !wait_until(deadline, unused)) {
            Error error = in_use(state->device, holders_of(state->device));
            error.message += fmt::format("; its server died: ringloop recover {}", name);
            return std::unexpected(std::move(error));
        }
        TRY(remove_remains(*state));
    }
    if (!wait_until(Deadline(stop_timeout_ms), [&] { return !directory.has_requests(name); })) {
        return fail(ETIMEDOUT,
                    "{}: requests of its dead server are still with the image; see that its disk "
                    "or server answers, then detach it again",
                    state->device);
    }
    directory.remove_files(std::move(*lock));
    return {};
}

}  // namespace

Status detach(const RuntimeDir& directory, const KnownDevice& device,
              const DetachOptions& options) {
    const DeviceState& state = device.state;
    if (!device.served) return remove_dead(directory, state.name, options);

    const Deadline deadline(options.timeout_ms);
    UniqueFd claim;
    if (options.force) {
        flush_disk(state.device);  // they still hold it, and what they wrote
    } else {
        TRY(wait_until_disconnected(directory, state, deadline));
        auto unused = wait_until_unused(state.device, deadline);
        if (!unused) return std::unexpected(std::move(unused).error());
        claim = std::move(*unused);
    }
    return end_server(directory, state, std::move(claim), deadline, options.force);
}

void remove_leftovers_of(const RuntimeDir& directory, i32 server_pid, const std::string& since) {
    directory.remove_strays();
    const auto names = directory.names();
    if (!names) return;
    for (const std::string& name : *names) {
        const auto state = directory.read_state(name);
        // Another device may have had a server of this number, long ago.
        if (!state || state->pid != server_pid || state->started_at < since) continue;
        // Fails when somebody else cleans up already.
        static_cast<void>(remove_dead(directory, name, {.timeout_ms = 0, .force = true}));
    }
}

namespace {

// A question on its way.
Result<Conversation> begin_asking(Result<Conversation> server, std::string_view question,
                                  int fd = -1) {
    if (!server) return server;
    TRY(server->ask(question, fd));
    return server;
}

Result<std::string> answer_of(const Result<Conversation>& server, const Deadline& deadline) {
    if (!server) return std::unexpected(server.error());
    auto answer = server->answer(deadline);
    if (!answer) return std::unexpected(std::move(answer).error());
    if (!*answer) return fail(ECONNRESET, "the server is ending; see ringloop list");
    return std::move(**answer);
}

}  // namespace

Result<std::string> ask_server(const RuntimeDir& directory, const std::string& name,
                               std::string_view question, u64 timeout_ms, int fd) {
    const Deadline deadline(timeout_ms);
    return answer_of(begin_asking(reach_server(directory, name, deadline), question, fd), deadline);
}

std::vector<Result<std::string>> ask_servers(const RuntimeDir& directory,
                                             const std::vector<std::string>& names,
                                             std::string_view question, const Deadline& deadline) {
    // Each costs two descriptors.
    constexpr std::size_t at_once = 256;
    std::vector<Result<std::string>> answers;
    while (answers.size() < names.size()) {
        const std::size_t end = std::min(answers.size() + at_once, names.size());
        std::vector<Result<Conversation>> servers;
        for (std::size_t i = answers.size(); i < end; ++i) {
            servers.push_back(
                begin_asking(Conversation::connect(directory.socket_path(names[i])), question));
        }
        for (const auto& server : servers) answers.push_back(answer_of(server, deadline));
    }
    return answers;
}

}  // namespace ringloop::control
