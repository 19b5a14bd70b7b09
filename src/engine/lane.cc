#include "engine/lane.h"

#include <algorithm>
#include <utility>

namespace ringloop::engine {

Status Lane::settle() {
    const Dispatching& dispatching = device_.dispatching();
    limit_ = dispatching.workers_of_shard();
    const bool submits = policy().direct_async && device_.backing().direct_now();
    if (submits) limit_ = std::min(limit_, policy().submitters);
    return kernel_.limit_workers(limit_);
}

void Lane::start(Transfer& transfer, bool direct) {
    ASSERT(transfer.place == LanePlace::none);
    stats_.lane_requests.add(transfer.request_count);
    if (direct && policy().direct_async) {
        run(transfer, LanePlace::submission);
        return;
    }
    const bool reads = transfer.op == Op::read || transfer.op == Op::prefetch;
    const bool concurrent = reads ? policy().reads_concurrent : policy().writes_concurrent;
    if (concurrent && concurrent_ < limit_) {
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
    while (!list_.empty() && (serial ? serial_ == 0 : concurrent_ < limit_)) {
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
