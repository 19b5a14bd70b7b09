#include "sim/life.h"

#include <fmt/format.h>
#include <sys/eventfd.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "engine/policy.h"

namespace ringloop::sim {
namespace {

// From the moment that something is there to do to the pass that does it: what comes meanwhile
// shares the pass.
constexpr u64 turn_ns_max = 20'000;

// The eventfd by which a shard is told of messages. A real one: Shard writes to it.
class Bell final : public Endpoint {
public:
    Bell() : fd_(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK)) { ASSERT(fd_); }

    UniqueFd take() { return std::move(fd_); }
    void hangs_at(i32 number) { number_ = number; }

    void start(Kernel& kernel, io::Completion& completion) override {
        ASSERT(!waiting_);
        waiting_ = &completion;
        look(kernel);
    }
    bool cancel(Kernel&, io::Completion&) override { return false; }
    void look(Kernel& kernel) {
        u64 count = 0;
        if (!waiting_ || ::read(number_, &count, sizeof count) != sizeof count) return;
        io::Completion& completion = *std::exchange(waiting_, nullptr);
        std::memcpy(completion.operation.data, &count, sizeof count);
        kernel.complete(completion, sizeof count);
    }
    // As the ring does it when the process ends.
    void end(Kernel& kernel) {
        if (waiting_) kernel.complete(*std::exchange(waiting_, nullptr), -ECANCELED);
    }

private:
    UniqueFd fd_;
    i32 number_ = -1;
    io::Completion* waiting_ = nullptr;
};

backing::Geometry geometry_of(const Config& config, u64 device_bytes) {
    backing::Geometry geometry;
    geometry.size = device_bytes;
    geometry.direct = config.direct != 0;
    geometry.memory_alignment = sector_bytes;
    geometry.block_device = config.block_device != 0;
    geometry.discard = geometry.write_zeroes = true;
    geometry.discard_granularity = page_bytes;
    geometry.deallocate_alignment = config.block_device ? page_bytes : 1;
    geometry.filesystem = "simulated";
    geometry.sparse = config.sparse != 0;
    return geometry;
}

}  // namespace

struct Life::Host : Event {
    Life* life = nullptr;
    std::unique_ptr<Kernel> kernel;
    Bell bell;
    std::unique_ptr<engine::Shard> shard;
    bool begun = false;
    bool stopped = false;
};

Life::Life(const Config& config, Machine& machine, const Inherited& inherited) : machine_(machine) {
    backing_ = backing::Backing::simulate(geometry_of(config, config.device_bytes),
                                          config.offset_pages * page_bytes, sector_bytes);
    backing_->resize(inherited.device_bytes);
    device_ = std::make_unique<engine::Device>(*backing_);
    if (inherited.poisoned) device_->inherit_poison();
    if (inherited.stopped) device_->inherit_stop();
    device_->set_on_error(inherited.on_error);
    const auto shards = static_cast<u32>(config.shards);
    const engine::Policy& policy = engine::policies()[config.policy % engine::policies().size()];
    const auto workers = std::max(static_cast<u32>(config.workers), shards);
    device_->dispatch_by({.policy = &policy, .workers = workers, .shards = shards});
    for (u32 number = 0; number < shards; ++number) {
        hosts_.push_back(std::make_unique<Host>());
        Host& host = *hosts_.back();
        host.life = this;
        host.happen = seat_turns;
        host.kernel = std::make_unique<Kernel>(machine, number, seat_wants_turn, &host);
        UniqueFd fd = host.bell.take();
        host.bell.hangs_at(fd.get());
        host.kernel->attach(fd.get(), host.bell);
        // In process, each port may send to any shard.
        const auto slots = static_cast<u32>(config.depth) * 2;
        auto shard = engine::Shard::create(*host.kernel, *device_, slots, std::move(fd));
        ASSERT(shard.has_value());
        host.shard = std::move(*shard);
        seats_.push_back({host.kernel.get(), host.shard.get()});
    }
    server_ = {device_.get(), seats_};
    if (config.tenants == 0) return;
    tenants_ = std::make_unique<SimTenants>(
        machine, server_,
        SimTenants::Options{.lanes = static_cast<u32>(std::min<u64>(config.tenants, 3)),
                            .release = 100'000});
}

Life::~Life() {
    tenants_.reset();
    for (const auto& host : hosts_) host->shard.reset();
}

void Life::begin() {
    for (const auto& host : hosts_) {
        host->shard->begin();
        host->begun = true;
    }
}

void Life::seat_wants_turn(void* context) {
    Host& host = *static_cast<Host*>(context);
    if (host.scheduled || host.stopped) return;
    Machine& machine = host.life->machine_;
    machine.timeline.after(machine.prng.below(turn_ns_max), host);
}

void Life::seat_turns(Event& event) {
    auto& host = static_cast<Host&>(event);
    if (!host.begun || host.stopped) return;
    host.kernel->dead() ? host.bell.end(*host.kernel) : host.bell.look(*host.kernel);
    host.stopped = !host.shard->turn(0);
    Life& life = *host.life;
    if (life.tenants_ && life.tenants_->turned(host.kernel->number())) seat_wants_turn(&host);
    if (life.turned && life.turned(host.kernel->number())) seat_wants_turn(&host);
}

void Life::freeze() {
    ASSERT(!freezing_);
    freezing_ = true;
    frozen_ = 0;
    for (const auto& host : hosts_) {
        host->shard->freeze(shard_is_frozen, this);
        host->kernel->nudge();
    }
}

void Life::shard_is_frozen(void* life) { ++static_cast<Life*>(life)->frozen_; }

void Life::thaw() {
    ASSERT(freezing_);
    freezing_ = false;
    for (const auto& host : hosts_) {
        host->shard->thaw();
        host->kernel->nudge();
    }
}

void Life::retry_held() {
    for (const auto& host : hosts_) {
        host->shard->retry_held();
        host->kernel->nudge();
    }
}

void Life::quiesce() {
    // Those of a server that was killed end with it.
    if (tenants_ && !seats_.front().kernel->dead()) tenants_->quiesce();
}

void Life::stop() {
    for (const auto& host : hosts_) {
        host->shard->stop();
        host->kernel->nudge();
    }
}

bool Life::stopped() const {
    return std::ranges::all_of(hosts_, [](const auto& host) {
        return host->stopped && !host->scheduled && host->kernel->quiet();
    });
}

bool Life::poisoned() const {
    return device_->poisoned() || std::ranges::any_of(hosts_, [](const auto& host) {
               return host->kernel->sync_failed();
           });
}

void Life::kill() {
    for (const auto& host : hosts_) host->kernel->kill();
    if (tenants_) tenants_->killed();
    if (freezing_) thaw();
    for (const auto& host : hosts_) host->kernel->nudge();
}

std::string Life::leftovers() const {
    if (machine_.inflight != 0) return fmt::format("{} operations in flight", machine_.inflight);
    if (device_->blocking_writes() != 0) {
        return fmt::format("{} writes that are still to block", device_->blocking_writes().load());
    }
    for (const auto& host : hosts_) {
        const engine::ShardStats& stats = host->shard->stats();
        if (stats.started.get() != stats.finished.get()) {
            return fmt::format("{} requests started, {} finished", stats.started.get(),
                               stats.finished.get());
        }
        if (stats.root_lane.started.get() != stats.root_lane.finished.get()) {
            return fmt::format("{} requests entered the root lane, {} left it",
                               stats.root_lane.started.get(), stats.root_lane.finished.get());
        }
        if (stats.workers_now.get() != 0) {
            return fmt::format("{} workers busy", stats.workers_now.get());
        }
    }
    return {};
}

}  // namespace ringloop::sim
