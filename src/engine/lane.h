// Where the transfers of one cgroup run, for one shard: whether each is tried first, who carries it
// out, and what may block, with the order and the bound that the policy promises.
//
// Every shard has a root lane, whose executor is its own ring. Lanes of other cgroups (tenants.h)
// differ from it in the executor alone: a process in that cgroup.
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
#pragma once

#include <atomic>

#include "engine/device.h"
#include "engine/nowait.h"
#include "engine/stats.h"
#include "engine/transfer.h"

namespace ringloop::engine {

class Lane {
public:
    // `blocking_writes`: those of this cgroup in all shards, as the hint counts them
    // (Hint::pending). All outlive the lane.
    Lane(io::Executor& executor, Device& device, ShardStats& shard_stats, LaneStats& stats,
         std::atomic<u32>& blocking_writes)
        : executor_(executor),
          device_(device),
          shard_stats_(shard_stats),
          stats_(stats),
          blocking_writes_(blocking_writes),
          nowait_(device, shard_stats, blocking_writes) {}

    // Takes over what the device dispatches by, and this lane's share of its workers. Shard's
    // thread, any time: what is in the lane already stays where it is.
    Status settle();

    // Shard's thread. A transfer is the lane's from enter to leave; withdraw is a leave with
    // requests that were not answered.
    void enter(Transfer& transfer);
    void leave(Transfer& transfer);
    void withdraw(Transfer& transfer);
    bool empty() const { return transfers_ == 0; }
    // A request of such a transfer was answered.
    void answered(const Request& request);

    // Shard's thread. `transfer.operation` and `done` are set; `direct`: on the direct file.
    void start_data(Transfer& transfer, bool direct, u64 now_ns);
    void start_other(Transfer& transfer);

    // To be called for every completion of a transfer, wherever it was. True: it was only tried,
    // and wants another way now.
    bool completed(Transfer& transfer, bool direct, bool data, u64 now_ns);

private:
    bool submits() const { return policy().direct_async && device_.backing().direct_now(); }
    void start_blocking(Transfer& transfer, bool direct);
    void make_room();
    void run(Transfer& transfer, LanePlace place);
    void left(Transfer& transfer);
    void drain();
    void count();
    const Policy& policy() const { return *device_.dispatching().policy; }

    io::Executor& executor_;
    Device& device_;
    ShardStats& shard_stats_;
    LaneStats& stats_;
    std::atomic<u32>& blocking_writes_;
    Nowait nowait_;
    TransferList list_;       // the serial one, or who waits for a worker
    u32 transfers_ = 0;       // that are the lane's
    u32 limit_ = 1;           // workers that the executor allows
    u32 concurrent_max_ = 1;  // transfers that hold one of their own, at most
    u32 concurrent_ = 0;      // transfers that hold a worker of their own
    u32 serial_ = 0;          // that are the serial list's: 0 or 1
    u32 submissions_ = 0;     // that need one to be submitted
    u32 busy_ = 0;            // as counted last
};

}  // namespace ringloop::engine
