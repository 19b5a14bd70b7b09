// Whom a device's I/O is charged to (--charge), and the lanes that see to it (cgroup/keeper.h).
#pragma once

#include <memory>
#include <optional>
#include <string>

#include "cgroup/hierarchy.h"
#include "cgroup/issuers.h"
#include "cgroup/keeper.h"
#include "control/options.h"
#include "control/sandbox.h"
#include "control/transports.h"
#include "engine/device.h"

namespace ringloop::control {

// Control thread, but for `join` and `leave`.
class Lanes {
public:
    // Looks up what `options.charge` names; nothing is left to do where that is nobody. While
    // /sys/fs/cgroup and libraries can be seen, so before harden_process. `queues`: of a ublk
    // device, at most.
    Status open(const DeviceOptions& options, u32 queues, u32 depth);

    // Whether requests are charged to others than the server.
    bool wanted() const { return hierarchies_.has_value(); }
    // Who issued what a socket brings, and what the ublk driver brings; nullptr: nobody wants to
    // know, or it cannot be known here.
    const cgroup::Hierarchies* peers() const;
    cgroup::Issuers* issuers() { return issuers_ ? &*issuers_ : nullptr; }
    // Why it cannot be known; empty otherwise.
    const std::string& shortcoming() const { return shortcoming_; }

    // Forks, so before there is any thread that does something, and reserves the memory of all
    // requests, so before the shards. Its thread and its processes confine themselves to `sandbox`.
    // Nothing to do unless wanted().
    Status start(const backing::Backing& backing, engine::Device& device,
                 const Transports& transports, int held_fd, Sandbox& sandbox);

    // What each shard is made with and runs with. Shard threads; only when started().
    bool started() const { return keeper_ != nullptr; }
    cgroup::Keeper& keeper() { return *keeper_; }

    // With nothing in flight, before the shards end. Any state, more than once.
    void stop();

private:
    void attach_issuers(u32 queues, u32 depth);

    std::optional<cgroup::Hierarchies> hierarchies_;
    std::optional<cgroup::Issuers> issuers_;
    std::string shortcoming_;
    bool by_issuer_ = false;
    u64 fixed_ = 0;
    u32 idle_s_ = lane_idle_default_s;
    std::unique_ptr<cgroup::Keeper> keeper_;
};

}  // namespace ringloop::control
