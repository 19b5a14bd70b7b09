#include "control/nbd_transport.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>

#include "base/assert.h"
#include "base/log.h"
#include "control/block_node.h"
#include "control/files.h"
#include "control/harden.h"
#include "control/kernel.h"
#include "control/wait.h"

namespace ringloop::control {
namespace {

constexpr u32 indices_tried_max = 4096;
constexpr u32 driver_queue_depth = 128;  // nbd_dev_add, drivers/block/nbd.c
// As ublk holds requests for the next server: for ever, as far as the driver's clock counts.
constexpr u64 dead_connection_timeout_s = 10ULL * 365 * 24 * 3600;
// How long a request that was in flight when the server died waits after the recovery. Each time
// it passes the driver logs a line for every such request. With several connections it also is how
// long a request may take at all (kernel_device.h), so it has to be much longer.
constexpr u64 resend_ms = 10'000;
constexpr u64 resend_ms_of_several = 90'000;
// The driver notices the death of a server by itself, from a worker.
constexpr u64 relink_timeout_ms = 30'000;
// Disconnecting ended the driver's side; what remains is our own requests in flight.
constexpr std::chrono::milliseconds links_end_timeout{30'000};
constexpr u64 free_timeout_ms = 200;
// The largest request of the driver in one piece, so that its sender seldom sleeps in between.
constexpr int socket_buffer_bytes = 1 << 20;

std::string directory_of(u32 index) { return fmt::format("/sys/block/nbd{}", index); }

// The driver has the file while it has a configuration, which ends with its last user.
bool is_taken(u32 index) { return path_exists(directory_of(index) + "/pid"); }

bool is_ours(u32 index, const std::string& backend_identifier) {
    return !backend_identifier.empty() &&
           read_line(directory_of(index) + "/backend") == backend_identifier;
}

struct SocketPair {
    UniqueFd ours;
    UniqueFd drivers;
};

Result<SocketPair> make_pair() {
    std::array<int, 2> fds{};
    if (::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds.data()) != 0) {
        return fail_errno(errno, "no sockets for the nbd driver");
    }
    SocketPair pair{UniqueFd(fds[0]), UniqueFd(fds[1])};
    for (const int fd : fds) {
        // Above the limit of ordinary users; a refusal leaves the default, which works.
        ::setsockopt(fd, SOL_SOCKET, SO_SNDBUFFORCE, &socket_buffer_bytes,
                     sizeof socket_buffer_bytes);
    }
    return pair;
}

// A socket that the driver did not take is closed by the time it answered.
bool was_taken(const UniqueFd& socket) {
    char byte = 0;
    return ::recv(socket.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT) != 0;
}

// Opening a device that is not connected makes the kernel look for partitions, and find none: it
// does not remove the old ones by itself. Nor does it take back BLKROSET, so that the next device
// of this number would be read-only.
void drop_leftovers(u32 index) { forget_read_only(nbd::kernel_device_path(index)); }

// The disk keeps what it was connected with, so the image must still be what it was.
Status check_same_disk(const DeviceState& state, u32 index, const TransportContext& context) {
    const backing::Geometry& geometry = context.geometry;
    const std::string directory = directory_of(index);
    constexpr u64 sector_bytes = 512;  // of sysfs, whatever the block size
    const std::string size = fmt::format("{}", context.size_bytes / sector_bytes);
    if (read_line(directory + "/size") != size) {
        return fail(EINVAL, "{} has {} sectors, but {} makes {} now; give the image its size back",
                    state.device, read_line(directory + "/size"), state.backing_file, size);
    }
    if (read_line(directory + "/queue/logical_block_size") !=
        fmt::format("{}", geometry.sector_size)) {
        return fail(
            EINVAL,
            "{} has blocks of {} bytes, but {} makes {} now; detach it and attach the image again",
            state.device, read_line(directory + "/queue/logical_block_size"), state.backing_file,
            geometry.sector_size);
    }
    if (geometry.read_only && read_line(directory + "/ro") != "1") {
        return fail(EROFS, "{} is writable, but {} is not any more; make it so again", state.device,
                    state.backing_file);
    }
    return {};
}

}  // namespace

std::optional<std::string> first_free_nbd_device() {
    for (u32 index = 0; index < indices_tried_max; ++index) {
        if (!is_taken(index)) return nbd::kernel_device_path(index);
    }
    return std::nullopt;
}

u32 driver_connections(const DeviceOptions& options) {
    const long cpus = ::sysconf(_SC_NPROCESSORS_ONLN);  // more queues the driver does not make
    return std::clamp(options.queues.value_or(1), 1U, static_cast<u32>(std::max(cpus, 1L)));
}

NbdTransport::NbdTransport(u32 index, std::string backend_identifier, std::size_t connections,
                           Ownership ownership, const TransportContext& context)
    : service_(*context.service),
      service_shards_(context.service_shards),
      attention_(*context.attention),
      index_(index),
      backend_identifier_(std::move(backend_identifier)),
      ownership_(ownership),
      sockets_(connections),
      links_(connections, Link::pending) {}

NbdTransport::~NbdTransport() { ASSERT(ownership_ != Ownership::connected); }

u32 NbdTransport::depth() const { return driver_queue_depth; }

Result<std::unique_ptr<Transport>> NbdTransport::create(const DeviceOptions& options,
                                                        const TransportContext& context,
                                                        const Announce& announce) {
    TRY(nbd_usable());
    std::unique_ptr<NbdTransport> transport(new NbdTransport(
        0, context.backend_identifier, driver_connections(options), Ownership::gone, context));
    TRY(transport->connect(options, context, announce));
    return transport;
}

// The driver would choose a free one too, but tell it only afterwards.
Status NbdTransport::connect(const DeviceOptions& options, const TransportContext& context,
                             const Announce& announce) {
    const auto only = nbd::kernel_device_index(options.device);
    for (u32 index = only.value_or(0); index < (only ? *only + 1 : indices_tried_max); ++index) {
        if (is_taken(index)) continue;
        const Status announced = announce(nbd::kernel_device_path(index));
        if (!announced && announced.error().number == EBUSY) continue;
        if (!announced) return announced;
        Status connected = connect_at(index, context.geometry);
        // EBUSY: somebody was faster, or just has it open.
        if (connected || connected.error().number != EBUSY) return connected;
    }
    if (only)
        return fail(EBUSY, "{} is in use; detach it, or attach without --device", options.device);
    return fail(EBUSY, "the first {} nbd devices are all in use: detach one", indices_tried_max);
}

Status NbdTransport::connect_at(u32 index, const backing::Geometry& geometry) {
    std::vector<UniqueFd> theirs;
    for (UniqueFd& ours : sockets_) {
        auto pair = make_pair();
        if (!pair) return std::unexpected(std::move(pair).error());
        ours = std::move(pair->ours);
        theirs.push_back(std::move(pair->drivers));
    }
    TRY(nbd::kernel_connect({.index = index,
                             .size_bytes = geometry.size,
                             .block_bytes = geometry.sector_size,
                             .flags = service_.kernel_flags(),
                             .dead_connection_timeout_s = dead_connection_timeout_s,
                             .request_timeout_s = 0,
                             .backend_identifier = backend_identifier_,
                             .sockets = theirs}));
    index_ = index;
    ownership_ = Ownership::connected;
    return {};
}

Result<std::unique_ptr<Transport>> NbdTransport::take_over(const DeviceState& state,
                                                           const TransportContext& context) {
    const auto index = nbd::kernel_device_index(state.device);
    if (!index || !state.nbd) return fail(EINVAL, "{}: not an nbd device", state.device);
    TRY(nbd_usable());
    TRY(check_same_disk(state, *index, context));
    const std::size_t connections = entries_of(directory_of(*index) + "/mq").size();
    if (connections == 0)
        return fail(ENODEV,
                    "{}: the driver has no queues for it; detach it and attach the image again",
                    state.device);
    return std::unique_ptr<Transport>(new NbdTransport(
        *index, state.nbd->backend_identifier, connections, Ownership::taken_over, context));
}

Status NbdTransport::bring_up() {
    const bool found = ownership_ == Ownership::taken_over;
    for (std::size_t link = 0; link < links_.size(); ++link) {
        if (found) {
            TRY(relink(link));
        } else {
            serve(link, std::move(sockets_[link]));
        }
    }
    if (found) {
        ownership_ = Ownership::connected;
        return {};  // its nodes exist
    }
    const u64 resend = links_.size() > 1 ? resend_ms_of_several : resend_ms;
    write_setting(directory_of(index_) + "/queue/io_timeout", fmt::format("{}", resend));
    use_no_scheduler(device_path());
    forget_read_only(device_path());  // of whoever had this number before
    return wait_for_nodes(device_path());
}

void NbdTransport::serve(std::size_t link, UniqueFd socket) {
    {
        const std::lock_guard lock(mutex_);
        links_[link] = Link::served;
    }
    const u32 shard = static_cast<u32>(link) % service_shards_;
    service_.adopt(std::move(socket), nbd::Service::Begin::transmission, shard,
                   [this, link] { link_on_ended(link); });
}

// A new connection in the place of a dead one, whichever the driver takes it for.
Status NbdTransport::relink(std::size_t link) {
    const Deadline deadline(relink_timeout_ms);
    for (Backoff backoff;; backoff.pause(deadline)) {
        auto pair = make_pair();
        if (!pair) return std::unexpected(std::move(pair).error());
        TRY(nbd::kernel_reconnect(index_, backend_identifier_, pair->drivers));
        pair->drivers.reset();
        if (was_taken(pair->ours)) {
            serve(link, std::move(pair->ours));
            return {};
        }
        if (deadline.passed()) {
            return fail(ETIMEDOUT,
                        "{}: the driver still believes in its old connections; see dmesg, then "
                        "recover again",
                        device_path());
        }
    }
}

void NbdTransport::link_on_ended(std::size_t link) {
    const std::lock_guard lock(mutex_);
    links_[link] = Link::ended;
    ended_.notify_all();
    attention_.raise();
}

// The driver gave a connection up, or the whole device was disconnected by somebody else.
Status NbdTransport::attend() {
    if (ownership_ != Ownership::connected) return {};
    for (std::size_t link = 0; link < links_.size(); ++link) {
        {
            const std::lock_guard lock(mutex_);
            if (links_[link] != Link::ended) continue;
        }
        if (!is_ours(index_, backend_identifier_)) {
            return fail(ENODEV, "{} was disconnected by somebody else; attach the image again",
                        device_path());
        }
        log::warning("{}: the driver gave up connection {}; it gets a new one", device_path(),
                     link);
        TRY(relink(link));
    }
    return {};
}

Status NbdTransport::resize(u64 size_bytes) {
    return nbd::kernel_resize(index_, backend_identifier_, size_bytes);
}

Status NbdTransport::stop() {
    if (ownership_ == Ownership::gone) return {};
    if (ownership_ == Ownership::taken_over) {
        // Its connections end with this process, and it waits for the next server.
        if (links_in(Link::served) == 0) return {};
        return fail(ECANCELED, "{} still waits for a server: ringloop recover gives it one",
                    device_path());
    }
    if (is_ours(index_, backend_identifier_)) TRY(nbd::kernel_disconnect(index_));
    sockets_.clear();
    if (links_end_within(links_end_timeout)) return {};
    return fail(ETIMEDOUT, "{}: the image does not answer; see that its disk or server does",
                device_path());
}

bool NbdTransport::links_end_within(std::chrono::milliseconds time) {
    std::unique_lock lock(mutex_);
    return ended_.wait_for(lock, time,
                           [this] { return std::ranges::count(links_, Link::served) == 0; });
}

u32 NbdTransport::links_in(Link state) const {
    const std::lock_guard lock(mutex_);
    return static_cast<u32>(std::ranges::count(links_, state));
}

Status NbdTransport::remove() {
    if (std::exchange(ownership_, Ownership::gone) != Ownership::connected) return {};
    // Whoever has it open, a detach that waits for us for instance, keeps it in use; to nobody's
    // advantage.
    if (wait_until(Deadline(free_timeout_ms), [this] { return !is_taken(index_); })) {
        drop_leftovers(index_);
    }
    return {};
}

std::string new_backend_identifier() {
    u64 number = 0;
    [[maybe_unused]] const ssize_t length = ::getrandom(&number, sizeof number, 0);
    return fmt::format("ringloop-{:016x}", number);
}

Status nbd_usable() {
    if (!has_driver("nbd")) {
        return fail(ENOENT,
                    "this kernel ({}) has no nbd driver: install the distribution's full kernel "
                    "(CONFIG_BLK_DEV_NBD)",
                    kernel_release());
    }
    if (!may_administer()) {
        return fail(EPERM, "/dev/nbdN: not permitted (CAP_SYS_ADMIN): run as root");
    }
    load_module("nbd");
    return nbd::kernel_driver_answers();
}

bool nbd_device_exists(const DeviceState& state) {
    const auto index = nbd::kernel_device_index(state.device);
    return index && state.nbd && is_ours(*index, state.nbd->backend_identifier);
}

bool nbd_device_is_gone(const DeviceState& state) {
    if (nbd_device_exists(state)) return false;
    const auto index = nbd::kernel_device_index(state.device);
    if (index && !is_taken(*index)) drop_leftovers(*index);
    return true;
}

Status remove_nbd_remains(const DeviceState& state) {
    const auto index = nbd::kernel_device_index(state.device);
    if (!index) return fail(EINVAL, "{}: not an nbd device", state.device);
    TRY(nbd::kernel_disconnect(*index));
    if (wait_until(Deadline(free_timeout_ms), [&] { return !nbd_device_exists(state); })) {
        drop_leftovers(*index);
    }
    return {};
}

}  // namespace ringloop::control
