// Where transfers go that may block: the workers of one shard, and who waits for one.
//
// The workers are the kernel's own (io-wq), which hold a thread only while they have something to
// do; the ring allows no more of them than the policy does, so the bound holds whatever is in
// flight. On top of it this list gives the order that a policy promises: a serial list that one
// worker takes in turn, reads beside it up to the bound, or everybody up to the bound.
//
// A direct transfer that is asynchronous needs a worker for its submission only, and the kernel
// does not tell when that is over: it is given to the ring at once and waits there. Of the workers
// that submit allocating writes, a second one only gets in the way of the first (they take turns at
// the inode's lock), so there is one until something else needs a worker, a sync for instance,
// which would keep writes from being submitted.
//
// This is the root lane, for every cgroup; a lane in the cgroup of the issuer comes beside it.
#pragma once

#include "engine/device.h"
#include "engine/stats.h"
#include "engine/transfer.h"

namespace ringloop::engine {

class Lane {
public:
    Lane(io::Kernel& kernel, Device& device, ShardStats& stats)
        : kernel_(kernel), device_(device), stats_(stats) {}

    // Takes over what the device dispatches by. Shard's thread, nothing in the lane; also when the
    // image turned out to be buffered, and then with whatever is there.
    Status settle();

    // Shard's thread. `transfer.operation` and `done` are set; `direct`: on the direct file.
    void start(Transfer& transfer, bool direct);

    // To be called for every completion of a transfer, wherever it was.
    void left(Transfer& transfer);

private:
    bool submits() const { return policy().direct_async && device_.backing().direct_now(); }
    void make_room();
    void run(Transfer& transfer, LanePlace place);
    void drain();
    void count();
    const Policy& policy() const { return *device_.dispatching().policy; }

    io::Kernel& kernel_;
    Device& device_;
    ShardStats& stats_;
    TransferList list_;       // the serial one, or who waits for a worker
    u32 limit_ = 1;           // workers that the ring allows
    u32 concurrent_max_ = 1;  // transfers that hold one of their own, at most
    u32 concurrent_ = 0;      // transfers that hold a worker of their own
    u32 serial_ = 0;          // that are the serial list's: 0 or 1
    u32 submissions_ = 0;     // that need one to be submitted
};

}  // namespace ringloop::engine
