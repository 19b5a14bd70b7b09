#include "frontend/nbd/service.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <limits>

#include "base/log.h"
#include "frontend/nbd/connection.h"
#include "frontend/nbd/listener.h"

namespace ringloop::nbd {

namespace wire = abi::nbd;

namespace {

// What changes a device, beside writes.
constexpr u32 changing_flags = wire::send_write_zeroes | wire::send_fast_zero | wire::send_trim;

u16 flags_of(const backing::Geometry& geometry) {
    u32 flags = wire::has_flags | wire::send_flush | wire::send_fua | wire::can_multi_conn |
                wire::send_cache;
    if (geometry.rotational) flags |= wire::rotational;
    if (geometry.read_only) return static_cast<u16>(flags | wire::read_only);
    // Zeroes can always be written; that they may be slow is what FAST_ZERO is for.
    flags |= changing_flags;
    if (!geometry.discard) flags &= ~u32{wire::send_trim};
    return static_cast<u16>(flags);
}

// Small requests answer each other; Nagle's algorithm would hold them back. Not of Unix sockets.
void send_at_once(int socket) {
    const int on = 1;
    static_cast<void>(::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on));
}

}  // namespace

struct Service::Errand : engine::Message {
    std::function<void(Post&)> work;
    Post* post = nullptr;
};

Service::Service(engine::Device& device, ServiceOptions options, u32 shards)
    : device_(device),
      options_(std::move(options)),
      posts_(shards),
      survey_(device.backing()),
      flags_(flags_of(device.geometry())) {
    const backing::Geometry& geometry = device.geometry();
    const u32 preferred =
        std::max({4096U, geometry.physical_block_size, preferred_block_bytes_min});
    export_ = {.name = options_.export_name,
               .description = options_.description,
               .block_bytes_min = geometry.request_alignment,
               .block_bytes_preferred = std::min(preferred, options_.request_bytes_max),
               .payload_bytes_max = options_.request_bytes_max,
               .reports_allocation = true};
}

Service::~Service() { ASSERT(connections_.load() == 0 && listening_.load() == 0); }

void Service::join(u32 index, engine::Shard& shard) { posts_[index].shard = &shard; }

void Service::leave(u32 index) { posts_[index].shard = nullptr; }

void Service::listen(UniqueFd socket) {
    listeners_.push_back(std::make_unique<Listener>(*this, std::move(socket)));
    listening_.fetch_add(1);
    post(0, [listener = listeners_.back().get()](Post& at) { listener->start(*at.shard); });
}

void Service::adopt(UniqueFd socket, Begin begin, u32 shard, std::function<void()> on_ended) {
    places_taken_.fetch_add(1);
    connections_.fetch_add(1);
    posts_[shard].count.fetch_add(1);
    // A std::function wants to be copied, a descriptor does not.
    auto held = std::make_shared<UniqueFd>(std::move(socket));
    post(shard, [this, held, begin, on_ended = std::move(on_ended)](Post& at) {
        open_connection(at, std::move(*held), begin, on_ended);
    });
}

// On the first shard: the next connection goes where there are fewest.
void Service::place(UniqueFd socket) {
    send_at_once(socket.get());
    accepted_.fetch_add(1, std::memory_order_relaxed);
    const auto fewest = std::ranges::min_element(
        posts_, {}, [](const Post& post) { return post.count.load(std::memory_order_relaxed); });
    adopt(std::move(socket), Begin::handshake, static_cast<u32>(fewest - posts_.begin()), {});
}

void Service::open_connection(Post& at, UniqueFd socket, Begin begin,
                              std::function<void()> on_ended) {
    auto* connection =
        new Connection(*this, *at.shard, std::move(socket), begin, std::move(on_ended));
    connection->next = at.connections;
    connection->post = &at;
    at.connections = connection;
}

void Service::connection_gone(Connection& connection) {
    Post& at = *connection.post;
    Connection** link = &at.connections;
    while (*link != &connection) link = &(*link)->next;
    *link = connection.next;
    delete &connection;
    at.count.fetch_sub(1);
    // In this order: the place is free before the listeners look for one, and the first shard
    // serves as long as drain waits for this connection.
    const bool was_full = places_taken_.fetch_sub(1) == options_.connections_max;
    if (was_full) {
        post(0, [this](Post&) {
            for (const auto& listener : listeners_) listener->resume();
        });
    }
    settle(connections_);
}

void Service::note_failed_handshake(std::string_view reason) {
    // A port scan is no news: the first tells what it looks like, the counter tells the rest.
    if (handshakes_failed_.fetch_add(1, std::memory_order_relaxed) > 0 || reason.empty()) return;
    log::info("nbd: a handshake ended early: {}; further ones are only counted", reason);
}

void Service::note_broken(std::string_view reason) {
    if (reason.empty() || broken_.fetch_add(1, std::memory_order_relaxed) > 0) return;
    log::info("nbd: a connection broke: {}; further ones are only counted", reason);
}

void Service::listener_gone() { settle(listening_); }

void Service::settle(std::atomic<u32>& count) {
    const std::lock_guard lock(mutex_);
    count.fetch_sub(1);
    gone_.notify_all();
}

void Service::post(u32 index, std::function<void(Post&)> work) {
    auto* errand = new Errand;
    errand->work = std::move(work);
    errand->post = &posts_[index];
    errand->run = [](engine::Message& message, engine::Shard&) {
        const std::unique_ptr<Errand> owned(&static_cast<Errand&>(message));
        owned->work(*owned->post);
    };
    posts_[index].shard->post(*errand);
}

u16 Service::kernel_flags() const { return flags_.load(std::memory_order_relaxed); }

void Service::image_changed() {
    flags_.store(flags_of(device_.geometry()), std::memory_order_relaxed);
}

Export Service::export_now() const {
    Export item = export_;
    item.flags = kernel_flags();
    item.size_bytes = device_.size_now();
    return item;
}

// What the driver was told by netlink, there is no handshake. Its requests are whole blocks. Its
// size changes while it is connected, and so may what it may do: the engine's admission has both. A
// later server does not know what the driver was told by the first.
Agreement Service::kernel_agreement() const {
    return {
        .style = ReplyStyle::simple,
        .flags = static_cast<u16>((u32{kernel_flags()} & ~u32{wire::read_only}) | changing_flags),
        .size_bytes = std::numeric_limits<i64>::max(),
        .block_bytes_min = export_.block_bytes_min,
        .payload_bytes_max = request_bytes_max};
}

Transmission::Options Service::transmission_options(u64 cgroup) const {
    const u64 bytes = std::max(options_.in_flight_bytes, in_flight_bytes_min);
    return {.depth = options_.depth,
            .large_slots = static_cast<u32>(bytes / piece_bytes_max),
            .cgroup = cgroup};
}

template <typename Rep>
bool Service::all_gone_within(Rep time) {
    std::unique_lock lock(mutex_);
    return gone_.wait_for(lock, time,
                          [this] { return connections_.load() == 0 && listening_.load() == 0; });
}

bool Service::drain(u64 timeout_ms) {
    const std::chrono::milliseconds half(timeout_ms / 2);
    if (!listeners_.empty()) {
        post(0, [this](Post&) {
            for (const auto& listener : listeners_) listener->stop();
        });
    }
    const auto each = [this](void (*act)(Connection&)) {
        for (u32 index = 0; index < posts_.size(); ++index) {
            if (!posts_[index].shard) continue;
            post(index, [act](Post& at) {
                for (Connection* it = at.connections; it; it = it->next) act(*it);
            });
        }
    };
    each([](Connection& connection) { connection.drain(); });
    if (all_gone_within(half)) return true;
    log::warning("nbd: cutting off clients that do not take their replies");
    each([](Connection& connection) { connection.abort("the server stops"); });
    return all_gone_within(half);
}

ServiceCounts Service::counts() const {
    return {.connections = connections_.load(std::memory_order_relaxed),
            .accepted = accepted_.load(std::memory_order_relaxed),
            .handshakes_failed = handshakes_failed_.load(std::memory_order_relaxed),
            .broken = broken_.load(std::memory_order_relaxed)};
}

}  // namespace ringloop::nbd
