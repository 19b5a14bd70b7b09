#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "base/size.h"
#include "control/block_node.h"
#include "control/dispatching.h"
#include "control/files.h"
#include "control/harden.h"
#include "control/nbd_transport.h"
#include "control/notify.h"
#include "control/overlap.h"
#include "control/resize.h"
#include "control/server_process.h"
#include "control/wait.h"
#include "frontend/nbd/kernel_device.h"

namespace ringloop::control {
namespace {

using nlohmann::json;

constexpr u64 dead_requests_timeout_ms = 30'000;
constexpr u64 dead_sockets_patience_ms = 5'000;
constexpr u64 dead_lock_patience_ms = 10'000;

}  // namespace

// Between two steps the person may have given up; inside each, every wait is bounded.
Status Server::start() {
    if (!background()) TRY(take_inherited());
    if (request_.take_over) {
        TRY(find_predecessor());
    } else if (recovering()) {
        TRY(claim_dead_device());
    } else {
        TRY(choose_transport());
        TRY(claim_name());
    }
    TRY(open_backing());
    TRY(lanes_.open(options_, recovering() ? state_.queues : queues_of(options_), options_.depth));
    TRY(bind_sockets());
    // While its library can be found: the file system of /usr may be one that is left.
    if (options_.transport == TransportChoice::nbd) TRY(nbd::prepare_kernel_calls());
    hardening_ = harden_process();
    TRY(check_wanted());
    if (predecessor_) TRY(take_estate());
    // A driver gives a device to nobody while its server lives.
    if (!sockets_alone()) TRY(replace_predecessor());
    TRY(create_device());
    TRY(watch_others());
    TRY(check_wanted());
    TRY(prepare_sandbox());
    TRY(start_shards());
    TRY(check_wanted());
    TRY(replace_predecessor());
    TRY(bring_up());
    TRY(check_wanted());
    TRY(listen_for_questions());
    TRY(close_sandbox());
    return announce();
}

Status Server::take_inherited() {
    auto inherited = inherited_sockets();
    if (!inherited) return std::unexpected(std::move(inherited).error());
    inherited_ = std::move(*inherited);
    return {};
}

// Before the image is opened: without a block device it is opened in another way.
Status Server::choose_transport() {
    options_ = request_.options;
    if (!options_.device.empty()) {
        const auto transport = transport_of_device(options_.device);
        if (!transport) return std::unexpected(transport.error());
        options_.transport = *transport;
    }
    if (options_.transport != TransportChoice::automatic) return {};
    if (!inherited_.empty()) {
        options_.transport = TransportChoice::socket;
        return {};
    }
    const Decision decision = decide_transport();
    options_.transport = decision.transport;
    if (decision.reason.empty()) return {};
    note_ = fmt::format("using --transport {}: {}", to_text(decision.transport), decision.reason);
    return {};
}

// A name that was asked for is claimed before anything else is touched.
Status Server::claim_name() {
    if (options_.name.empty()) {
        return options_.transport == TransportChoice::socket ? claim_socket_name() : Status();
    }
    auto lock = directory_.lock(options_.name);
    if (!lock) return std::unexpected(std::move(lock).error());
    const auto stale = directory_.read_state(options_.name);
    if (!stale && stale.error().number != ENOENT) {
        return fail(EEXIST, "{}; remove this file", stale.error().message);
    }
    if (stale) {
        const auto remains = remains_of(*stale);
        if (!remains) return std::unexpected(remains.error());
        if (*remains != Remains::none) {
            return fail(EEXIST,
                        "name '{}' belongs to {}, whose server died: ringloop recover {} brings it "
                        "back, ringloop detach {} removes it",
                        options_.name, stale->device, options_.name, options_.name);
        }
    }
    lock_ = std::move(*lock);
    return start_log(options_.name);
}

// socket0, socket1 ...
Status Server::claim_socket_name() {
    auto lock = directory_.lock_first_free("socket");
    if (!lock) return std::unexpected(std::move(lock).error());
    lock_ = std::move(*lock);
    return start_log(lock_->name());
}

Status Server::claim_dead_device() {
    const std::string& name = request_.recover_name;
    auto lock = directory_.lock(name);
    if (!lock) return fail(EBUSY, "'{}' has a server already; nothing to recover", name);
    auto state = directory_.read_state(name);
    if (!state && state.error().number == ENOENT) {
        return fail(ENOENT, "no device named '{}'; see ringloop list", name);
    }
    if (!state) return std::unexpected(std::move(state).error());
    if (state->unprivileged) {
        return fail(ENODEV,
                    "{}: the kernel ends a ublk device of an ordinary user with its server, so "
                    "nothing is left to recover; ringloop detach {} cleans up",
                    state->device, name);
    }
    // Whoever looks sees that there is a server, and has to see too that it serves nobody yet. The
    // pid stays the dead one's: by it the kernel's device is known to be this one.
    if (state->phase == Phase::live) {
        state->phase = Phase::recovering;
        TRY(directory_.write_state(*state));
    }
    if (!wait_until(Deadline(dead_requests_timeout_ms),
                    [&] { return !directory_.has_requests(name); })) {
        return fail(ETIMEDOUT,
                    "'{}': requests of the dead server are still with the image; see that its disk "
                    "or server answers, then recover again",
                    name);
    }
    const auto remains = remains_of(*state);
    if (!remains) return std::unexpected(remains.error());
    if (*remains != Remains::recoverable) {
        return fail(ENODEV, "{} cannot be recovered: {}; ringloop detach {} cleans up",
                    state->device,
                    *remains == Remains::none ? "the kernel does not have it any more"
                                              : "it never became usable",
                    name);
    }
    state_ = std::move(*state);
    options_ = recover_options(state_);
    // What a service manager still holds for us, as it did for the dead server, is not bound again.
    std::erase_if(options_.exported.addresses, [this](const Address& address) {
        return std::ranges::find(inherited_, address, &Inherited::address) != inherited_.end();
    });
    lock_ = std::move(*lock);
    return start_log(name);
}

// A server in the background has no terminal; what it says goes beside its state.
Status Server::start_log(const std::string& name) const {
    if (!background()) return {};
    const std::string path = directory_.log_path(name);
    TRY(log::to_file(path, log::Level::info));
    // A failed assertion and the sanitizers write there too, and the caller's stderr is let go.
    const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0644));
    if (!fd || ::dup2(fd.get(), STDERR_FILENO) < 0) return fail_errno(errno, "{}.log", name);
    return {};
}

// The lock of a dead server lasts until the last process that it forked has ended, too.
Status Server::open_image() {
    Result<std::unique_ptr<backing::Backing>> backing = fail(0, "");
    wait_until(Deadline(recovering() ? dead_lock_patience_ms : 0), [&] {
        backing::Options options = backing_options(options_);
        if (predecessor_) options.lock = false;  // it gives us its own
        backing = backing::Backing::open(options);
        return backing || backing.error().number != EBUSY;
    });
    if (!backing && backing.error().number == EBUSY && !options_.allow_overlap) {
        return std::unexpected(in_use_by_others(directory_, options_));
    }
    if (!backing) return std::unexpected(std::move(backing).error());
    backing_ = std::move(*backing);
    return {};
}

Status Server::open_backing() {
    if (!recovering()) TRY(check_nesting(directory_, options_.image));
    TRY(open_image());
    device_.emplace(*backing_);
    if (recovering()) adopt_state();
    device_->set_on_error(options_.on_error);
    device_->on_trouble = [](void* attention) { static_cast<Attention*>(attention)->raise(); };
    device_->on_trouble_context = &attention_;
    return {};
}

// While paths still mean what they meant to whoever wrote them.
Status Server::read_service_settings() {
    ExportOptions& exported = options_.exported;
    TRY(make_absolute(exported.tls_certificates));
    TRY(make_absolute(exported.tls_psk));
    auto settings = ServiceSettings::create(exported, options_.depth, lanes_.peers());
    if (!settings) return std::unexpected(std::move(settings).error());
    service_settings_ = std::move(*settings);
    return {};
}

Status Server::listen_for_metrics() {
    if (!options_.metrics.empty()) {
        const auto address = parse_metrics_address(options_.metrics);
        if (!address) return std::unexpected(address.error());
        auto metrics = MetricsServer::listen(*address, recovering() ? dead_sockets_patience_ms : 0);
        if (!metrics && !recovering()) return std::unexpected(std::move(metrics).error());
        // Its users wait for the device, whoever took the port meanwhile.
        if (metrics) {
            metrics_ = std::move(*metrics);
        } else {
            metrics_shortcoming_ = metrics.error().message;
        }
    }
    return {};
}

Status Server::bind_sockets() {
    TRY(read_service_settings());
    if (predecessor_) return {};  // it has them all
    TRY(listen_for_metrics());
    ExportOptions& exported = options_.exported;
    const bool alone = options_.transport == TransportChoice::socket;
    if (alone && exported.addresses.empty() && inherited_.empty()) {
        auto address =
            parse_address(fmt::format("unix:{}/{}.nbd", directory_.path(), lock_->name()));
        if (!address) return std::unexpected(std::move(address).error());
        exported.addresses.push_back(std::move(*address));
    }
    if (exported.addresses.empty() && inherited_.empty()) return {};
    auto sockets = SocketTransport::bind(exported, std::move(inherited_), queues_of(options_),
                                         recovering() ? dead_sockets_patience_ms : 0);
    if (!sockets) return std::unexpected(std::move(sockets).error());
    sockets_ = std::move(*sockets);
    return {};
}

Status Server::create_device() {
    // Which transport it is was not known when the options were checked.
    TRY(check_on_error(options_.on_error, options_.transport, options_.queues.value_or(1),
                       is_unprivileged()));
    if (!recovering() && options_.transport == TransportChoice::nbd) {
        backend_identifier_ = new_backend_identifier();
    }
    const u32 service_shards =
        std::max(sockets_ ? sockets_->queues() : 0,
                 options_.transport == TransportChoice::nbd ? driver_connections(options_) : 0);
    if (service_shards > 0) {
        nbd::Service& service =
            transports_.make_service(*device_, service_settings_->options(), service_shards);
        if (sockets_) sockets_->use(service);
        if (estate_) service.count_from(estate_->counts);
        listening_ = sockets_.get();
    }
    if (options_.transport != TransportChoice::socket) {
        TRY(create_block_device());
    } else if (!recovering()) {
        TRY(announce_device(sockets_->device_path()));
    }
    if (sockets_) socket_folders_ = sockets_->folders();
    if (sockets_) transports_.add(std::move(sockets_));
    state_.transport = transports_.first().kind();
    state_.queues = transports_.queues();  // the kernel may have clamped both
    if (const u32 depth = transports_.first().depth(); depth > 0) state_.depth = depth;
    device_->dispatch_by(dispatching_of(options_, state_.queues));
    return {};
}

Status Server::create_block_device() {
    const TransportContext context{.geometry = backing_->geometry(),
                                   .size_bytes = backing_->size_now(),
                                   .service = transports_.service(),
                                   .service_shards = transports_.service_shards(),
                                   .attention = &attention_,
                                   .backend_identifier = backend_identifier_,
                                   .issuers = lanes_.issuers()};
    auto transport = recovering()
                         ? take_over_transport(state_, context)
                         : create_transport(options_, context, [this](const std::string& path) {
                               return announce_device(path);
                           });
    if (!transport) return std::unexpected(std::move(transport).error());
    transports_.add(std::move(*transport));
    return {};
}

// Before the sandbox: afterwards nobody has any rights.
bool Server::is_unprivileged() const {
    return options_.transport == TransportChoice::ublk && !may_administer();
}

// The state file is there before its device, so that a server that dies in between leaves nothing
// that detach could not find. While a device is taken over, the file describes the dead server.
Status Server::announce_device(const std::string& path) {
    if (options_.name.empty() && !sockets_alone()) TRY(claim_own_name(path));
    const backing::Geometry& geometry = backing_->geometry();
    state_ = {.name = lock_->name(),
              .device = path,
              .transport = options_.transport,
              .nbd = nbd_state(),
              .backing_file = backing_->path(),
              .size_bytes = geometry.size,
              .offset_bytes = options_.offset_bytes,
              .sizelimit_bytes = options_.sizelimit_bytes,
              .sector_size = geometry.sector_size,
              .read_only = geometry.read_only,
              .direct_io = geometry.direct,
              .direct_io_reason = geometry.direct_reason,
              .direct_io_requested = options_.direct_io,
              .queues = queues_of(options_),
              .depth = options_.depth,
              .policy = policy_of(options_).name,
              .workers_requested = options_.workers,
              .charge = charge_of(options_),
              .lane_idle_s = options_.lane_idle_s,
              .ref = ref_of(options_),
              .allow_overlap = options_.allow_overlap,
              .autoclear = options_.autoclear,
              .partscan = options_.partscan.value_or(true) && !is_unprivileged(),
              .unprivileged = is_unprivileged(),
              .watch_size = options_.watch_size,
              .on_error = options_.on_error,
              .sandbox = options_.sandbox,
              .metrics = options_.metrics,
              .pid = ::getpid(),
              .phase = Phase::starting,
              .started_at = utc_now(),
              .boot_id = read_line("/proc/sys/kernel/random/boot_id")};
    return directory_.write_state(state_);
}

std::optional<DeviceState::Nbd> Server::nbd_state() const {
    if (!transports_.service()) return std::nullopt;
    return DeviceState::Nbd{.exported = options_.exported,
                            .uris = sockets_ ? sockets_->uris() : std::vector<std::string>{},
                            .backend_identifier = backend_identifier_};
}

// Nobody may choose the name of a device (check_name), so whoever holds it is a server that is
// just ending; the next device will do.
Status Server::claim_own_name(const std::string& path) {
    if (lock_) directory_.remove_files(std::move(*lock_));
    lock_.reset();
    auto lock = directory_.lock(path.substr(path.rfind('/') + 1));
    if (!lock) return std::unexpected(std::move(lock).error());
    lock_ = std::move(*lock);
    return start_log(lock_->name());
}

// The device has its name, and there is no other thread yet.
Status Server::prepare_sandbox() {
    return sandbox_.prepare({.choice = options_.sandbox,
                             .transport = state_.transport,
                             .device = state_.device,
                             .lanes = lanes_.wanted(),
                             .runtime_fd = directory_.fd(),
                             .socket_folders = socket_folders_});
}

Status Server::start_shards() {
    if (estate_) {
        request_mark_ = std::move(estate_->request_mark);
    } else {
        auto mark = directory_.request_mark(*lock_);
        if (!mark) return std::unexpected(std::move(mark).error());
        request_mark_ = std::move(*mark);
    }
    TRY(lanes_.start(*backing_, *device_, transports_, request_mark_.get(), sandbox_));
    return shards_.start(transports_, *device_, request_mark_.get(), &lanes_, &sandbox_);
}

Status Server::bring_up() {
    TRY(transports_.bring_up());
    live_ = true;
    if (estate_) pause_us_ = (now_ns() - estate_->held_since_ns) / 1000;
    if (!state_.partscan) remove_partitions(state_.device);
    return upkeep_->watch({.autoclear = options_.autoclear, .watch_size = options_.watch_size},
                          clients_of(transports_));
}

// Everything but the control socket. Before a predecessor is replaced: this may find too many files
// open, and then the old one goes on.
Status Server::watch_others() {
    auto upkeep = Upkeep::create(state_);
    if (!upkeep) return std::unexpected(std::move(upkeep).error());
    upkeep_ = std::move(*upkeep);
    std::vector<int> fds = {signals_.fd(), attention_.fd(), upkeep_->fd()};
    if (metrics_) fds.push_back(metrics_->fd());
    auto others = watch_any(fds);
    if (!others) return std::unexpected(std::move(others).error());
    others_ = std::move(*others);
    return {};
}

// What is told to whoever waits for the device.
std::string Server::ready_line() const {
    json ready = to_json(state_, to_text(state_.phase));
    if (!note_.empty()) {
        ready["note"] = note_;
        log::info("{}", note_);
    }
    if (estate_) ready["pause_us"] = pause_us_;
    ready["warnings"] = json::array();
    if (const u64 cut = backing_->geometry().bytes_cut; cut > 0) {
        const std::string text = cut_text(options_.image, cut);
        log::warning("{}", text);
        ready["warnings"].push_back(text);
    }
    if (state_.unprivileged && options_.partscan == true) {
        const std::string text = fmt::format(
            "{} has no nodes for partitions: the kernel looks for none on a device of an ordinary "
            "user",
            state_.device);
        log::warning("{}", text);
        ready["warnings"].push_back(text);
    }
    if (!metrics_shortcoming_.empty()) {
        const std::string text = "no metrics over HTTP: " + metrics_shortcoming_;
        log::warning("{}", text);
        ready["warnings"].push_back(text);
    }
    if (!lanes_.shortcoming().empty()) {
        const std::string text = fmt::format("requests of {} are charged to the server: {}",
                                             state_.device, lanes_.shortcoming());
        log::warning("{}", text);
        ready["warnings"].push_back(text);
    }
    return dump_json(ready);
}

Status Server::listen_for_questions() {
    auto socket = ControlSocket::listen(directory_.socket_path(lock_->name()));
    if (!socket) return std::unexpected(std::move(socket).error());
    socket_ = std::move(*socket);
    return {};
}

// The last step but to tell of the device: everything is open.
Status Server::close_sandbox() {
    find_manager();
    shards_.confine();
    if (nbd::Service* service = transports_.service()) {
        sandbox_.confine_survey(service->survey());
    }
    return sandbox_.confine();
}

// Everything that tells others: the state, and last the one who waits for us.
Status Server::announce() {
    state_.pid = ::getpid();
    state_.started_at = utc_now();
    state_.phase = Phase::live;
    state_.degraded.clear();  // nobody has looked yet
    // Whatever may lack memory comes before the device counts as usable.
    const std::string ready = ready_line();
    TRY(directory_.write_state(state_));

    log::info("{} {}serves {} ({}, {} of {}, policy {}, {}{})", state_.device,
              estate_        ? "is taken over and "
              : recovering() ? "is recovered and "
                             : "",
              state_.backing_file, format_size(state_.size_bytes),
              state_.queues == 1 ? "1 queue" : fmt::format("{} queues", state_.queues),
              state_.depth, state_.policy,
              state_.direct_io ? "direct I/O" : "buffered: " + state_.direct_io_reason,
              state_.read_only ? ", read-only" : "");
    notify_manager(fmt::format("READY=1\nSTATUS={} serves {}", state_.device, state_.backing_file));
    const Status told = ready_.tell(ready);
    return recovering() ? Status() : told;
}

// A device that is being taken over has users who wait for it. Half taken over it serves nobody,
// and some kernels let nobody try again, so from there on it is finished whoever gave up.
Status Server::check_wanted() {
    if (recovering() && !transports_.empty()) return {};
    if (signals_.arrived() != 0) return fail(EINTR, "interrupted");
    if (ready_.broken()) return fail(EPIPE, "nobody waits for this device any more");
    return {};
}

}  // namespace ringloop::control
