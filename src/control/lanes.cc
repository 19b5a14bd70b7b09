#include "control/lanes.h"

namespace ringloop::control {
namespace {

// Pieces come and go with connections, and may leave gaps.
constexpr u64 slack = 2;

}  // namespace

Status Lanes::open(const DeviceOptions& options, u32 queues, u32 depth) {
    if (charges_server(options.charge)) return {};
    auto hierarchies = cgroup::Hierarchies::open();
    if (!hierarchies) return std::unexpected(std::move(hierarchies).error());
    by_issuer_ = options.charge == "issuer";
    if (!by_issuer_) {
        const auto id = hierarchies->of_path(options.charge);
        if (!id)
            return fail(id.error().number, "--charge {}: {}", options.charge, id.error().message);
        fixed_ = *id;
    }
    idle_s_ = options.lane_idle_s;
    hierarchies_ = std::move(*hierarchies);
    if (by_issuer_ && options.transport == TransportChoice::ublk) attach_issuers(queues, depth);
    if (by_issuer_ && options.transport == TransportChoice::nbd) {
        shortcoming_ =
            "the kernel's nbd driver does not tell who issued a request; use "
            "--charge PATH, or a ublk device";
    }
    return {};
}

// The device is of use without.
void Lanes::attach_issuers(u32 queues, u32 depth) {
    auto issuers = cgroup::Issuers::attach(queues, depth);
    if (issuers) {
        issuers_.emplace(std::move(*issuers));
    } else {
        shortcoming_ = issuers.error().message;
    }
}

const cgroup::Hierarchies* Lanes::peers() const { return by_issuer_ ? &*hierarchies_ : nullptr; }

Status Lanes::start(const backing::Backing& backing, engine::Device& device,
                    const Transports& transports, int held_fd, Sandbox& sandbox) {
    if (!wanted()) return {};
    TRY(device.buffers().share(slack * transports.buffer_bytes_max()));
    auto keeper = cgroup::Keeper::create(
        *hierarchies_, backing, device,
        {.shards = transports.queues(),
         .idle_ms = u64{idle_s_} * 1000,
         .fixed = fixed_,
         .held_fd = held_fd,
         .confine = [&sandbox] { sandbox.confine_keeper(); },
         .confine_lane = sandbox.wanted() ? Sandbox::confine_lane : nullptr});
    if (!keeper) return std::unexpected(std::move(keeper).error());
    keeper_ = std::move(*keeper);
    return {};
}

void Lanes::stop() {
    if (keeper_) keeper_->stop();
}

}  // namespace ringloop::control
