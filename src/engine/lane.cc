#include "engine/lane.h"

#include <algorithm>
#include <utility>

namespace ringloop::engine {
namespace {

// See the head of lane.h.
constexpr u32 submitters = 1;
// A sync, and one that punches or zeroes a long range.
constexpr u32 beside_submitters_max = 2;

}  // namespace

Status Lane::settle() {
    limit_ = device_.workers_of_lane();
    concurrent_max_ = limit_;
    if (submits()) {
        concurrent_max_ = std::clamp(limit_ - submitters, 1U, beside_submitters_max);
        limit_ = submitters;
    }
    return executor_.limit_workers(limit_);
}

// Once, and for good: the kernel keeps workers that have something to do, and one that ends as soon
// as the sync does would be made again for the next.
void Lane::make_room() {
    const u32 wanted = std::min(submitters + concurrent_max_, device_.workers_of_lane());
    if (policy().serial() || !submits() || limit_ >= wanted) return;
    // As many as before will do if the kernel refuses.
    if (executor_.limit_workers(wanted)) limit_ = wanted;
}

void Lane::enter(Transfer& transfer) {
    transfer.lane = this;
    ++transfers_;
    stats_.started.add(transfer.request_count);
}

void Lane::leave(Transfer& transfer) {
    ASSERT(transfer.lane == this && transfer.place == LanePlace::none && transfers_ > 0);
    transfer.lane = nullptr;
    --transfers_;
}

void Lane::withdraw(Transfer& transfer) {
    stats_.finished.add(transfer.request_count);
    leave(transfer);
}

void Lane::answered(const Request& request) {
    stats_.finished.add(1);
    if (request.result != Errno::ok) return;
    if (request.op == Op::read) stats_.bytes_read.add(request.range.length);
    if (request.op == Op::write) stats_.bytes_written.add(request.range.length);
}

void Lane::start_data(Transfer& transfer, bool direct, u64 now_ns) {
    // Zeroes that are written for want of a better way are not worth a try.
    const Way way = transfer.zeroing
                        ? Way::worker
                        : nowait_.choose(transfer.operation, direct, transfer.misses, now_ns);
    if (way != Way::worker) {
        executor_.submit(transfer);
        return;
    }
    transfer.operation.force_async = true;
    if (direct && transfer.op != Op::read) {
        transfer.may_block = true;
        blocking_writes_.fetch_add(1, std::memory_order_relaxed);
    }
    start_blocking(transfer, direct);
}

void Lane::start_other(Transfer& transfer) {
    // A block device's own discard is asynchronous; whatever else has no data blocks.
    const bool asynchronous = transfer.operation.code == io::Operation::Code::discard;
    asynchronous ? executor_.submit(transfer) : start_blocking(transfer, false);
}

void Lane::start_blocking(Transfer& transfer, bool direct) {
    ASSERT(transfer.place == LanePlace::none);
    shard_stats_.lane_requests.add(transfer.request_count);
    if (direct && policy().direct_async) {
        run(transfer, LanePlace::submission);
        return;
    }
    make_room();
    const bool reads = transfer.op == Op::read || transfer.op == Op::prefetch;
    const bool concurrent = reads ? policy().reads_concurrent : policy().writes_concurrent;
    if (concurrent && concurrent_ < concurrent_max_) {
        run(transfer, LanePlace::concurrent);
        return;
    }
    if (concurrent) shard_stats_.serial_overflow.add(1);
    list_.push(transfer);
    drain();
}

bool Lane::completed(Transfer& transfer, bool direct, bool data, u64 now_ns) {
    left(transfer);
    if (std::exchange(transfer.may_block, false)) {
        blocking_writes_.fetch_sub(1, std::memory_order_relaxed);
    }
    return data &&
           nowait_.refused(transfer.operation, direct, transfer.result, transfer.call_ns, now_ns);
}

void Lane::left(Transfer& transfer) {
    switch (std::exchange(transfer.place, LanePlace::none)) {
        case LanePlace::none: return;
        case LanePlace::submission: --submissions_; break;
        case LanePlace::concurrent: --concurrent_; break;
        case LanePlace::serial: --serial_; break;
    }
    drain();
    count();
}

void Lane::drain() {
    const bool serial = policy().serial();
    while (!list_.empty() && (serial ? serial_ == 0 : concurrent_ < concurrent_max_)) {
        run(*list_.pop(), serial ? LanePlace::serial : LanePlace::concurrent);
    }
}

void Lane::run(Transfer& transfer, LanePlace place) {
    transfer.place = place;
    switch (place) {
        case LanePlace::none: std::unreachable();
        case LanePlace::submission: ++submissions_; break;
        case LanePlace::concurrent: ++concurrent_; break;
        case LanePlace::serial: ++serial_; break;
    }
    count();
    executor_.submit(transfer);
}

// More than the executor allows cannot be busy, whatever was handed over.
void Lane::count() {
    const u32 busy = std::min(limit_, concurrent_ + serial_ + submissions_);
    if (busy == busy_) return;
    const u64 of_shard = shard_stats_.workers_now.get() + busy - busy_;
    busy_ = busy;
    stats_.workers_now.set(busy);
    shard_stats_.workers_now.set(of_shard);
    shard_stats_.workers_max_seen.raise_to(of_shard);
}

}  // namespace ringloop::engine
