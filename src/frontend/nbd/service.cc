#include "frontend/nbd/service.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <sys/socket.h>

#include <algorithm>
#include <chrono>
#include <latch>
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

// How long a client that is in the handshake just now holds up the others.
constexpr u64 handshake_patience_ms = 50;

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
    adopt(std::move(socket), begin, shard, std::move(on_ended), {});
}

void Service::adopt(UniqueFd socket, Begin begin, u32 shard, std::function<void()> on_ended,
                    CarriedClient carried) {
    places_taken_.fetch_add(1);
    connections_.fetch_add(1);
    posts_[shard].count.fetch_add(1);
    // A std::function wants to be copied, a descriptor does not.
    auto held = std::make_shared<UniqueFd>(std::move(socket));
    post(shard, [this, held, begin, on_ended = std::move(on_ended), carried = std::move(carried)](
                    Post& at) { open_connection(at, std::move(*held), begin, on_ended, carried); });
}

// On the first shard: the next connection goes where there are fewest.
void Service::place(UniqueFd socket) {
    send_at_once(socket.get());
    accepted_.fetch_add(1, std::memory_order_relaxed);
    adopt(std::move(socket), Begin::handshake, emptiest_shard(), {});
}

u32 Service::emptiest_shard() const {
    const auto fewest = std::ranges::min_element(
        posts_, {}, [](const Post& post) { return post.count.load(std::memory_order_relaxed); });
    return static_cast<u32>(fewest - posts_.begin());
}

void Service::take_over(UniqueFd socket, CarriedClient client) {
    adopt(std::move(socket), Begin::carried, emptiest_shard(), {}, std::move(client));
}

void Service::count_from(const ServiceCounts& before) {
    accepted_.fetch_add(before.accepted);
    handshakes_failed_.fetch_add(before.handshakes_failed);
    broken_.fetch_add(before.broken);
}

void Service::open_connection(Post& at, UniqueFd socket, Begin begin,
                              std::function<void()> on_ended, CarriedClient carried) {
    auto* connection = new Connection(*this, *at.shard, std::move(socket), begin,
                                      std::move(on_ended), std::move(carried));
    connection->next = at.connections;
    connection->post = &at;
    at.connections = connection;
    if (parking()) connection->park();
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
    if (parking()) recount(at);
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

// ---- For another server ----

void Service::on_each_shard(const std::function<void(Post&)>& work) {
    std::vector<u32> serving;
    for (u32 index = 0; index < posts_.size(); ++index) {
        if (posts_[index].shard) serving.push_back(index);
    }
    std::latch done(static_cast<std::ptrdiff_t>(serving.size()));
    for (const u32 index : serving) {
        post(index, [&work, &done](Post& at) {
            work(at);
            done.count_down();
        });
    }
    done.wait();
}

// On the shard's thread.
void Service::recount(Post& at) {
    Parked standing;
    u32 known = 0;
    for (const Connection* it = at.connections; it; it = it->next) {
        ++known;
        switch (it->standing()) {
            case Connection::Standing::parked: ++standing.parked; break;
            case Connection::Standing::ending:
            case Connection::Standing::busy: ++standing.busy; break;
            case Connection::Standing::handshake: ++standing.handshake; break;
            case Connection::Standing::encrypted: ++standing.encrypted; break;
            case Connection::Standing::drivers: break;
        }
    }
    u32 accepting = 0;
    if (&at == &posts_.front()) {
        for (const auto& listener : listeners_) accepting += listener->accepting() ? 1U : 0U;
    }
    const std::lock_guard lock(mutex_);
    at.standing = standing;
    at.accepting = accepting;
    at.known = known;
    gone_.notify_all();
}

// Under mutex_.
Service::Parked Service::standing() const {
    Parked all;
    u32 known = 0;
    for (const Post& post : posts_) {
        known += post.known;
        all.parked += post.standing.parked;
        all.busy += post.standing.busy + post.accepting;
        all.handshake += post.standing.handshake;
        all.encrypted += post.standing.encrypted;
    }
    // Accepted, and on its way to its shard.
    all.busy += std::max(connections_.load(), known) - known;
    return all;
}

Service::Parked Service::park(u64 timeout_ms) {
    parking_.store(true);
    on_each_shard([this](Post& at) {
        if (&at == &posts_.front()) {
            for (const auto& listener : listeners_) listener->park();
        }
        for (Connection* it = at.connections; it; it = it->next) it->park();
        recount(at);
    });
    std::unique_lock lock(mutex_);
    const auto begin = std::chrono::steady_clock::now();
    const auto wait = [&](u64 until_ms, auto&& settled) {
        gone_.wait_until(lock, begin + std::chrono::milliseconds(until_ms), settled);
    };
    wait(std::min(timeout_ms, handshake_patience_ms),
         [this] { return standing().busy == 0 && standing().handshake == 0; });
    wait(timeout_ms, [this] { return standing().busy == 0; });
    return standing();
}

void Service::unpark() {
    parking_.store(false);
    on_each_shard([this](Post& at) {
        for (Connection* it = at.connections; it; it = it->next) it->unpark();
        if (&at != &posts_.front()) return;
        for (const auto& listener : listeners_) listener->unpark();
    });
}

std::vector<Service::Held> Service::held() {
    std::vector<Held> all;
    on_each_shard([&](Post& at) {
        const std::lock_guard lock(mutex_);
        for (const Connection* it = at.connections; it; it = it->next) {
            if (it->standing() != Connection::Standing::parked) continue;
            all.push_back({it->socket(), it->carried()});
        }
    });
    return all;
}

std::vector<int> Service::listening_sockets() const {
    std::vector<int> sockets;
    for (const auto& listener : listeners_) sockets.push_back(listener->socket());
    return sockets;
}

ServiceCounts Service::counts() const {
    return {.connections = connections_.load(std::memory_order_relaxed),
            .accepted = accepted_.load(std::memory_order_relaxed),
            .handshakes_failed = handshakes_failed_.load(std::memory_order_relaxed),
            .broken = broken_.load(std::memory_order_relaxed)};
}

}  // namespace ringloop::nbd
