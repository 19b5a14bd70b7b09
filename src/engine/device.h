// The device that all shards and all frontends of one image share: its geometry, what it admits,
// and whether its promise of durability still stands.
#pragma once

#include <atomic>

#include "backing/backing.h"
#include "engine/request.h"

namespace ringloop::engine {

class Device {
public:
    explicit Device(const backing::Backing& backing) : backing_(backing) {}

    const backing::Backing& backing() const { return backing_; }
    const backing::Geometry& geometry() const { return backing_.geometry(); }
    u64 size_now() const { return backing_.size_now(); }

    // Whether a request may start; any thread. Bounds, alignment and read-only are what a peer can
    // get wrong, so they are errors; what only our own frontends could get wrong is asserted.
    //   read, discard past the end or unaligned: invalid; write past the end: no_space;
    //   anything that changes a read-only device: read_only; a flush of a poisoned one: io.
    Errno admit(const Request& request) const;

    // A sync failed: the kernel may have dropped dirty pages and will not report them again, so no
    // later flush or FUA may succeed. Any thread; the first call logs.
    void poison(Errno cause);
    bool poisoned() const { return poisoned_.load(std::memory_order_acquire); }

private:
    const backing::Backing& backing_;
    std::atomic<bool> poisoned_ = false;
};

}  // namespace ringloop::engine
