// The dispatcher turns a transfer into operations on the backing and sees it through: the rest of a
// short transfer, a retry, another way where the backing refuses one, the sync behind a FUA write,
// and one answer for each request.
//
//   access_start -> access_on_backing -+-> access_start          short, retried, other way
//                                      +-> zeroes_start          backing cannot zero a range
//                                      +-> sync_start -> sync_on_backing   FUA
//                                      +-> split                 one of several failed
//                                      +-> finish
//
// By which way an operation reaches the backing is the choice of its lane (lane.h): in which
// cgroup, tried without blocking (nowait.h), or by a worker. There is no code here for any single
// policy. A lane that is lost gives back what it did not do, and the root lane does it; syncs are
// always the root lane's.
//
// One sync at a time: those that are asked for while it runs share the next one, which begins when
// it ends, and so after every write that they cover.
#pragma once

#include "engine/device.h"
#include "engine/lane.h"
#include "engine/stats.h"
#include "engine/tenants.h"
#include "engine/transfer.h"

namespace ringloop::engine {

// Attempts at one operation that was interrupted or told to come again. A backing that does that
// sixteen times in a row has failed.
inline constexpr u32 retries_max = 16;

class Dispatch {
public:
    // `on_answer` is called from the loop with a request whose result is set.
    using OnAnswer = void (*)(void* context, Request& request);

    Dispatch(io::Kernel& kernel, Device& device, const backing::Handle& handle, ShardStats& stats,
             u32 requests_max, OnAnswer on_answer, void* context);

    // For the plug, which fills them.
    TransferPool& pool() { return pool_; }

    // Takes over what the device dispatches by. Shard's thread.
    Status settle();

    // Lanes for other cgroups; nullptr: the root lane serves all. Shard's thread, nothing in
    // flight; outlives its use.
    void serve(Tenants* tenants) { tenants_ = tenants; }

    // Shard's thread, from the loop, never from within submit.
    void start(Transfer& transfer);

private:
    void access_start(Transfer& transfer);
    void enter_lane(Transfer& transfer);
    void move_to_root(Transfer& transfer);
    static void access_on_backing(io::Completion& completion);
    void access_moved(Transfer& transfer, u64 bytes);
    void access_refused(Transfer& transfer, Errno error);
    void access_failed(Transfer& transfer, Errno error);
    void zeroes_start(Transfer& transfer);
    void sync_start(Transfer& transfer);
    void sync_submit(Transfer& transfer);
    void sync_ended(Transfer& transfer, Errno result);
    static void sync_on_backing(io::Completion& completion);
    void split(Transfer& transfer);
    void finish(Transfer& transfer, Errno result);

    void discard_start(Transfer& transfer);
    void write_zeroes_start(Transfer& transfer);
    backing::Access::Kind kind_of(const Transfer& transfer) const;
    void answer(Lane& lane, Request& request, Errno result);
    bool on_direct_file(const Transfer& transfer) const {
        return !(transfer.operation.file == handle_.buffered);
    }

    io::Kernel& kernel_;
    Device& device_;
    const backing::Handle& handle_;
    ShardStats& stats_;
    OnAnswer on_answer_;
    void* context_;
    TransferPool pool_;
    Lane root_;
    Tenants* tenants_ = nullptr;
    Transfer* sync_running_ = nullptr;
    TransferList syncs_covered_;  // by that one, beside its own
    TransferList syncs_waiting_;  // for the next
};

}  // namespace ringloop::engine
