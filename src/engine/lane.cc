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
    limit_ = device_.dispatching().workers_of_shard();
    concurrent_max_ = limit_;
    if (submits()) {
        concurrent_max_ = std::clamp(limit_ - submitters, 1U, beside_submitters_max);
        limit_ = submitters;
    }
    return kernel_.limit_workers(limit_);
}

// Once, and for good: the kernel keeps workers that have something to do, and one that ends as soon
// as the sync does would be made again for the next.
void Lane::make_room() {
    const u32 wanted =
        std::min(submitters + concurrent_max_, device_.dispatching().workers_of_shard());
    if (policy().serial() || !submits() || limit_ >= wanted) return;
    // As many as before will do if the kernel refuses.
    if (kernel_.limit_workers(wanted)) limit_ = wanted;
}

void Lane::start(Transfer& transfer, bool direct) {
    ASSERT(transfer.place == LanePlace::none);
    stats_.lane_requests.add(transfer.request_count);
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
    if (concurrent) stats_.serial_overflow.add(1);
    list_.push(transfer);
    drain();
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
    kernel_.submit(transfer);
}

// More than the ring allows cannot be busy, whatever was handed over.
void Lane::count() {
    const u32 busy = std::min(limit_, concurrent_ + serial_ + submissions_);
    stats_.workers_now.set(busy);
    stats_.workers_max_seen.raise_to(busy);
}

}  // namespace ringloop::engine
