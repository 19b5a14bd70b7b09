// A server that gives its device to the next one, and the next one that takes it up: hand_over.h.
#include <sys/socket.h>

#include <algorithm>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "control/files.h"
#include "control/hand_over.h"
#include "control/notify.h"
#include "control/resize.h"
#include "control/server_process.h"
#include "control/wait.h"

namespace ringloop::control {
namespace {

using nlohmann::json;

// For clients to take their replies, and to send the rest of a request that cannot be cut.
constexpr u64 park_timeout_ms = 1'000;

// Holds the clients still for as long as it lives.
class Parking {
public:
    explicit Parking(nbd::Service* service) : service_(service) {
        if (service_) parked_ = service_->park(park_timeout_ms);
    }
    Parking(const Parking&) = delete;
    Parking& operator=(const Parking&) = delete;
    ~Parking() {
        if (service_) service_->unpark();
    }

    // Whether all of them can be given away, or cut off.
    Status complete(const std::string& device, u64 held_requests, bool force) const {
        if (force) return {};
        if (parked_.encrypted > 0) {
            return fail(EBUSY,
                        "{}: clients with TLS would be cut off ({}), their keys cannot leave this "
                        "server; disconnect them, or give --force if they connect again by "
                        "themselves",
                        device, parked_.encrypted);
        }
        if (parked_.busy == 0) return {};
        if (held_requests > 0) {
            return fail(EBUSY,
                        "{}: requests of clients wait for room on the image's filesystem ({}); "
                        "make room and upgrade again, or give --force if they connect again by "
                        "themselves",
                        device, held_requests);
        }
        return fail(EBUSY,
                    "{}: clients that take no replies, or send a request in half, would be cut off "
                    "({}); upgrade again, or give --force if they connect again by themselves",
                    device, parked_.busy);
    }

private:
    nbd::Service* service_;
    nbd::Service::Parked parked_{};
};

// 0: not known.
pid_t asker_of(const Question& question) {
    ucred asker{};
    socklen_t size = sizeof asker;
    const int fd = question.client.get();
    return ::getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &asker, &size) == 0 ? asker.pid : 0;
}

// A service manager that looks after this process takes another one for it only where that is one
// of the service, too: what ExecReload= starts is.
bool of_same_unit(pid_t other) {
    const std::string own = read_line("/proc/self/cgroup");
    return std::getenv("NOTIFY_SOCKET") && !own.empty() && other > 0 &&
           read_line(fmt::format("/proc/{}/cgroup", other)) == own;
}

}  // namespace

std::optional<Server::UpgradeQuestion> Server::wants_upgrade(std::string_view question) {
    const auto object = parse_json(question);
    if (!object || !object->is_object()) return std::nullopt;
    const auto verb = object->find("verb");
    if (verb == object->end() || *verb != "upgrade") return std::nullopt;
    const auto force = object->find("force");
    const auto format = object->find("format");
    UpgradeQuestion wanted{.force = force != object->end() && *force == true};
    if (format != object->end()) wanted.format = *format == hand_over_format ? hand_over_format : 0;
    return wanted;
}

Status Server::may_hand_over(const UpgradeQuestion& wanted, pid_t next) const {
    if (!background() && !of_same_unit(next)) {
        return fail(EBUSY,
                    "{}: runs in the foreground, so whoever started it has to start the next one: "
                    "of ringloop@NAME.service, systemctl reload does",
                    state_.device);
    }
    if (state_.unprivileged) {
        return fail(EOPNOTSUPP,
                    "{}: the kernel ends a ublk device of an ordinary user with its server, so no "
                    "other server can take it over; detach it and attach the image again",
                    state_.device);
    }
    if (wanted.format == hand_over_format) return {};
    if (wanted.format) {
        return fail(EPROTONOSUPPORT,
                    "{}: its server (pid {}) does not know in which form that ringloop wants it; "
                    "detach and attach, or upgrade to a version in between",
                    state_.device, state_.pid);
    }
    const auto clients = transports_.clients();
    if (wanted.force || !clients || clients->connections == 0) return {};
    return fail(EBUSY,
                "{}: connected clients would be cut off ({}); disconnect them, or give --force if "
                "they connect again by themselves",
                state_.device, clients->connections);
}

// A failed sync is told to who has the file open, and the next server could not hear of it.
Status Server::sync_for_next() {
    if (state_.read_only) return {};
    Status synced = device_->sync_at_end();
    if (!synced) device_->poison(Errno::io);
    return synced;
}

// Does not return when it succeeds: nothing is in flight, everything that was acknowledged is on
// stable storage, and so the end of this process is what a crash is, without what a crash risks.
Status Server::hand_over(const Question& question, const UpgradeQuestion& wanted) {
    const pid_t next = asker_of(question);
    TRY(may_hand_over(wanted, next));
    TRY(sync_for_next());  // most of it before anybody waits
    if (lanes_.started()) static_cast<void>(lanes_.keeper().reap());
    const u64 held_since_ns = now_ns();
    const Parking parking(wanted.format ? transports_.service() : nullptr);
    TRY(parking.complete(state_.device, device_->paused().requests, wanted.force));
    return shards_.while_frozen(state_.device, "upgrade", [&]() -> Status {
        TRY(sync_for_next());
        state_.phase = Phase::recovering;
        Status given = directory_.write_state(state_);
        if (given && wanted.format) {
            given = bequeath(question, bequest(held_since_ns));
        } else if (given) {
            answer(question, dump_json({{"ok", true}}));
        }
        if (given) {
            log::info("{} is handed over", state_.device);
            if (of_same_unit(next)) notify_manager(fmt::format("MAINPID={}", next));
            std::_Exit(0);
        }
        state_.phase = Phase::live;
        static_cast<void>(directory_.write_state(state_));
        log::warning("{} stays with this server: {}", state_.device, given.error().message);
        return given;
    });
}

Bequest Server::bequest(u64 held_since_ns) {
    Bequest bequest{.name_lock = lock_->fd(),
                    .request_mark = request_mark_.get(),
                    .image_lock = backing_->lock_fd(),
                    .held_since_ns = held_since_ns};
    nbd::Service* service = transports_.service();
    if (!service) return bequest;
    bequest.clients = service->held();
    bequest.counts = service->counts();
    const std::vector<int> sockets = service->listening_sockets();
    for (std::size_t i = 0; i < sockets.size(); ++i) {
        bequest.listeners.push_back({sockets[i], listening_->listeners()[i].file()});
    }
    return bequest;
}

// The next server's first step. Nothing is taken yet, so what it finds may change until it asks.
Status Server::find_predecessor() {
    const std::string& name = request_.recover_name;
    auto state = directory_.read_state(name);
    if (!state && state.error().number == ENOENT) {
        return fail(ENOENT, "no device named '{}'; see ringloop list", name);
    }
    if (!state) return std::unexpected(std::move(state).error());
    auto predecessor = Predecessor::find(directory_, name);
    if (!predecessor) {
        return fail(predecessor.error().number,
                    "{}: {}; see ringloop list, and ringloop recover {} if its server died",
                    state->device, predecessor.error().message, name);
    }
    predecessor_ = std::move(*predecessor);
    state_ = std::move(*state);
    options_ = recover_options(state_);
    inherited_.clear();  // the old server listens to all that it is meant to listen to
    return start_log(name);
}

// From here on requests wait.
Status Server::take_estate() {
    auto estate = predecessor_->ask(request_.force);
    if (!estate) return fail(estate.error().number, "{}", about_device(estate.error().message));
    if (!*estate) {
        TRY(end_predecessor(false));
        return fail(ESTALE, "{}: its server ended and gave nothing; ringloop recover {}",
                    state_.device, state_.name);
    }
    estate_ = std::move(*estate);
    auto lock = directory_.adopt_lock(request_.recover_name, std::move(estate_->name_lock));
    if (!lock) return std::unexpected(std::move(lock).error());
    auto state = directory_.read_state(request_.recover_name);
    if (!state) return std::unexpected(std::move(state).error());
    if (recover_options(*state) != options_) {
        return fail(EAGAIN, "{}: was changed meanwhile; upgrade again", state_.device);
    }
    lock_ = std::move(*lock);
    state_ = std::move(*state);
    backing_->adopt_lock(std::move(estate_->image_lock));
    adopt_state();
    if (options_.exported.addresses.empty()) return {};
    sockets_ = SocketTransport::take_over(options_.exported, std::move(estate_->listeners),
                                          std::move(estate_->clients), queues_of(options_));
    return {};
}

Status Server::end_predecessor(bool replaced) {
    const Status ended = predecessor_->replace(replaced);
    if (ended) return {};
    return fail(ended.error().number, "{}", about_device(ended.error().message));
}

// The old server ends; there is no way back.
Status Server::replace_predecessor() {
    if (!predecessor_) return {};
    TRY(end_predecessor(true));
    predecessor_.reset();
    return listen_for_metrics();
}

// What the state tells of the image that the image itself does not.
void Server::adopt_state() {
    // The image may have grown since; no shard exists yet.
    const u64 known = size_known_to_users(state_);
    if (known < backing_->size_now()) backing_->resize(known);
    state_.size_bytes = backing_->size_now();
    state_.paused.clear();  // what waited for room is tried again first
    if (!device_) return;
    if (state_.poisoned) device_->inherit_poison();
    if (!state_.stopped.empty()) device_->inherit_stop();
}

std::string Server::about_device(const std::string& message) const {
    if (message.starts_with(state_.device)) return message;
    return fmt::format("{}: {}", state_.device, message);
}

}  // namespace ringloop::control
