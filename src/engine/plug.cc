#include "engine/plug.h"

#include <algorithm>

namespace ringloop::engine {
namespace {

bool mergeable(const Request& request) {
    return (request.op == Op::read || request.op == Op::write) && !request.fua;
}

bool behind(const Transfer& transfer, const Request& request) {
    return transfer.range.end() == request.range.offset;
}

bool before(const Transfer& transfer, const Request& request) {
    return request.range.end() == transfer.range.offset;
}

bool joins(const Transfer& transfer, const Request& request) {
    return transfer.op == request.op && !transfer.fua && transfer.cgroup == request.cgroup &&
           transfer.request_count < merge_requests_max &&
           transfer.range.length + request.range.length <= merge_bytes_max &&
           (behind(transfer, request) || before(transfer, request));
}

}  // namespace

void Plug::add(Request& request) {
    if (request.op == Op::flush) {
        recent_count_ = 0;
        if (flush_) {
            flush_->requests.push(request);
            ++flush_->request_count;
            stats_.merged.add(1);
            return;
        }
        flush_ = &pool_.take(request);
        transfers_.push(*flush_);
        return;
    }
    Transfer* neighbour = mergeable(request) ? neighbour_of(request) : nullptr;
    if (!neighbour) {
        open(pool_.take(request));
        return;
    }
    if (behind(*neighbour, request)) {
        neighbour->requests.push(request);
    } else {
        neighbour->requests.push_front(request);
        neighbour->range.offset = request.range.offset;
    }
    neighbour->range.length += request.range.length;
    ++neighbour->request_count;
    stats_.merged.add(1);
}

Transfer* Plug::neighbour_of(const Request& request) {
    const u32 known = std::min(recent_count_, window);
    for (u32 age = 1; age <= known; ++age) {
        Transfer* transfer = recent_[(recent_count_ - age) % window];
        if (joins(*transfer, request)) return transfer;
        if (transfer->range.overlaps(request.range)) return nullptr;
    }
    return nullptr;
}

void Plug::open(Transfer& transfer) {
    transfers_.push(transfer);
    recent_[recent_count_++ % window] = &transfer;
}

TransferList Plug::unplug() {
    recent_count_ = 0;
    flush_ = nullptr;
    return transfers_.take();
}

}  // namespace ringloop::engine
