// One operation on the backing that serves one request or several adjacent ones.
#pragma once

#include <sys/uio.h>

#include <array>
#include <memory>
#include <vector>

#include "engine/request.h"
#include "io/kernel.h"

namespace ringloop::engine {

class Dispatch;
class Lane;

// What a transfer in the lane holds (lane.h).
enum class LanePlace : u8 { none, submission, concurrent, serial };

// 64 pages of 4 KiB make 256 KiB of vectors; 1280 KiB is what the kernel's driver takes at most.
inline constexpr u32 merge_requests_max = 64;
inline constexpr u64 merge_bytes_max = 1280 * kib;

struct Transfer : io::Completion {
    Op op = Op::read;
    bool fua = false;
    bool no_unmap = false;
    bool fast_zero = false;
    u64 cgroup = 0;
    Dispatch* dispatch = nullptr;
    Lane* lane = nullptr;  // whose it is, from Dispatch::start to its end

    // Where it stands.
    u32 retries = 0;
    u32 misses = 0;  // tries that would have blocked
    LanePlace place = LanePlace::none;
    bool may_block = false;    // counted in its lane's blocking writes
    bool durable = false;      // the operation in flight is durable by itself (FUA)
    bool needs_sync = false;   // FUA, and a part of it was not durable by itself
    bool zeroing = false;      // write_zeroes by writing zeroes
    Transfer* link = nullptr;  // on a list of the engine, while not on one of the kernel

    // Its requests, in the order of their addresses, and what is left of their common range.
    RequestList requests;
    u32 request_count = 0;
    ByteRange range;

    // What is left to move: vectors[vector_first] to vectors[vector_end - 1].
    u32 vector_first = 0;
    u32 vector_end = 0;
    std::array<iovec, merge_requests_max> vectors{};
};

using TransferList = Fifo<Transfer, &Transfer::link>;

// As many transfers as there are request slots, so taking one never fails.
class TransferPool {
public:
    explicit TransferPool(u32 count) { grow_to(count); }

    // When a frontend with slots of its own comes; never shrinks.
    void grow_to(u32 count) {
        if (count <= count_) return;
        const u32 added = count - count_;
        transfers_.push_back(std::make_unique<Transfer[]>(added));
        for (u32 i = 0; i < added; ++i) free_.push(transfers_.back()[i]);
        count_ = count;
    }

    // A transfer for `request` alone.
    Transfer& take(Request& request) {
        Transfer* transfer = free_.pop();
        ASSERT(transfer != nullptr);
        transfer->op = request.op;
        transfer->fua = request.fua;
        transfer->no_unmap = request.no_unmap;
        transfer->fast_zero = request.fast_zero;
        transfer->cgroup = request.cgroup;
        transfer->retries = 0;
        transfer->misses = 0;
        transfer->durable = false;
        transfer->needs_sync = transfer->zeroing = false;
        transfer->vector_first = transfer->vector_end = 0;
        transfer->range = request.range;
        transfer->request_count = 1;
        transfer->requests.push(request);
        return *transfer;
    }

    void give_back(Transfer& transfer) {
        ASSERT(transfer.requests.empty());
        free_.push_front(transfer);  // the one whose memory is warm goes out next
    }

private:
    std::vector<std::unique_ptr<Transfer[]>> transfers_;
    u32 count_ = 0;
    TransferList free_;
};

}  // namespace ringloop::engine
