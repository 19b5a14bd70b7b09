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
// What the page cache may answer is tried on this thread first (inline_try.h). Where anything else
// runs is the kernel's choice for now (io_uring tries without blocking and hands over to a bounded
// pool of its own); policies and lanes take that choice over here.
#pragma once

#include "engine/device.h"
#include "engine/inline_try.h"
#include "engine/stats.h"
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

    // Shard's thread, from the loop, never from within submit.
    void start(Transfer& transfer);

private:
    void access_start(Transfer& transfer);
    static void access_on_backing(io::Completion& completion);
    void access_moved(Transfer& transfer, u64 bytes);
    void access_refused(Transfer& transfer, Errno error);
    void access_failed(Transfer& transfer, Errno error);
    void zeroes_start(Transfer& transfer);
    void sync_start(Transfer& transfer);
    static void sync_on_backing(io::Completion& completion);
    void split(Transfer& transfer);
    void finish(Transfer& transfer, Errno result);

    void discard_start(Transfer& transfer);
    void write_zeroes_start(Transfer& transfer);
    backing::Access::Kind kind_of(const Transfer& transfer) const;
    void answer(Request& request, Errno result);

    io::Kernel& kernel_;
    Device& device_;
    const backing::Handle& handle_;
    ShardStats& stats_;
    OnAnswer on_answer_;
    void* context_;
    TransferPool pool_;
    InlineTry inline_try_;
};

}  // namespace ringloop::engine
