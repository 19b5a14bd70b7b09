#include "engine/dispatch.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "base/log.h"
#include "base/vectors.h"

namespace ringloop::engine {
namespace {

using Kind = backing::Access::Kind;

// What zeroes are written from where the backing has no cheaper way: 64 vectors make 4 MiB.
constexpr u64 zeroes_bytes = 64 * kib;
alignas(4096) constexpr std::byte zeroes[zeroes_bytes] = {};

bool moves_data(const Transfer& transfer) {
    return transfer.op == Op::read || transfer.op == Op::write || transfer.zeroing;
}

// One vector for each request, in the order of their addresses.
void fill_vectors(Transfer& transfer) {
    transfer.vector_first = 0;
    transfer.vector_end = 0;
    for (Request* request = transfer.requests.front(); request; request = request->next) {
        transfer.vectors[transfer.vector_end++] = {request->buffer, request->range.length};
    }
}

// As many zeroes as the vectors take; the rest of the range follows as after a short write.
u64 fill_zeroes(Transfer& transfer) {
    transfer.vector_first = 0;
    transfer.vector_end = 0;
    u64 filled = 0;
    while (filled < transfer.range.length && transfer.vector_end < merge_requests_max) {
        const u64 length = std::min(zeroes_bytes, transfer.range.length - filled);
        // Never written to: iovec has no const.
        transfer.vectors[transfer.vector_end++] = {const_cast<std::byte*>(zeroes), length};
        filled += length;
    }
    return filled;
}

// What lies behind the end of a truncated image reads as zeroes, with the error beside it.
void clear_vectors(Transfer& transfer) {
    for (u32 i = transfer.vector_first; i < transfer.vector_end; ++i) {
        std::memset(transfer.vectors[i].iov_base, 0, transfer.vectors[i].iov_len);
    }
}

}  // namespace

Dispatch::Dispatch(io::Kernel& kernel, Device& device, const backing::Handle& handle,
                   ShardStats& stats, u32 requests_max, OnAnswer on_answer, void* context)
    : kernel_(kernel),
      device_(device),
      handle_(handle),
      stats_(stats),
      on_answer_(on_answer),
      context_(context),
      pool_(requests_max),
      root_(kernel, device, stats, stats.root_lane, device.blocking_writes()) {}

Status Dispatch::settle() {
    if (tenants_) tenants_->settle();
    return root_.settle();
}

// A flush covers the writes of every cgroup.
void Dispatch::enter_lane(Transfer& transfer) {
    Lane* lane = nullptr;
    if (tenants_ && transfer.op != Op::flush) lane = tenants_->lane_of(transfer.cgroup);
    (lane ? *lane : root_).enter(transfer);
}

void Dispatch::move_to_root(Transfer& transfer) {
    stats_.lane_fallbacks.add(transfer.request_count);
    transfer.lane->withdraw(transfer);
    root_.enter(transfer);
    transfer.cgroup = 0;
}

void Dispatch::start(Transfer& transfer) {
    transfer.dispatch = this;
    enter_lane(transfer);
    switch (transfer.op) {
        case Op::read:
        case Op::write:
            fill_vectors(transfer);
            access_start(transfer);
            return;
        case Op::write_zeroes: write_zeroes_start(transfer); return;
        case Op::discard: discard_start(transfer); return;
        case Op::prefetch: access_start(transfer); return;
        case Op::flush:
            // Nothing was ever written through a read-only device.
            if (device_.geometry().read_only) {
                finish(transfer, Errno::ok);
                return;
            }
            sync_start(transfer);
            return;
    }
}

// A discard may do less than it was asked to, so blocks that it names in part are left alone.
void Dispatch::discard_start(Transfer& transfer) {
    const u64 alignment = device_.geometry().deallocate_alignment;
    const u64 begin = align_up(transfer.range.offset, alignment);
    const u64 end = align_down(transfer.range.end(), alignment);
    if (begin < end) {
        transfer.range = {begin, end - begin};
        access_start(transfer);
    } else if (transfer.fua) {
        sync_start(transfer);
    } else {
        finish(transfer, Errno::ok);
    }
}

void Dispatch::write_zeroes_start(Transfer& transfer) {
    const ByteRange range = transfer.range;
    const bool whole_blocks =
        is_aligned(range.offset | range.length, device_.geometry().deallocate_alignment);
    if (whole_blocks && device_.backing().zero_supported(kind_of(transfer))) {
        access_start(transfer);
    } else {
        zeroes_start(transfer);
    }
}

Kind Dispatch::kind_of(const Transfer& transfer) const {
    switch (transfer.op) {
        case Op::read: return Kind::read;
        case Op::flush: return Kind::sync;
        case Op::discard: return Kind::discard;
        case Op::prefetch: return Kind::prefetch;
        case Op::write: break;
        case Op::write_zeroes:
            if (!transfer.zeroing) return transfer.no_unmap ? Kind::zero_keep : Kind::zero_unmap;
            break;
    }
    const bool durable = transfer.fua && device_.backing().durable_writes();
    return durable ? Kind::write_durable : Kind::write;
}

void Dispatch::access_start(Transfer& transfer) {
    backing::Access access;
    access.kind = kind_of(transfer);
    access.range = transfer.range;
    if (moves_data(transfer)) {
        if (transfer.zeroing) access.range.length = fill_zeroes(transfer);
        access.vectors = &transfer.vectors[transfer.vector_first];
        access.vector_count = transfer.vector_end - transfer.vector_first;
        if (transfer.request_count == 1 && !transfer.zeroing) {
            access.fixed_buffer = transfer.requests.front()->fixed_buffer;
        }
    }
    transfer.durable = access.kind == Kind::write_durable;
    if (transfer.fua && !transfer.durable) transfer.needs_sync = true;
    transfer.operation = device_.backing().operation(handle_, access);
    transfer.done = access_on_backing;
    stats_.operations.add(1);
    if (moves_data(transfer)) {
        transfer.lane->start_data(transfer, on_direct_file(transfer), kernel_.now_ns());
    } else {
        transfer.lane->start_other(transfer);
    }
}

void Dispatch::access_on_backing(io::Completion& completion) {
    auto& transfer = static_cast<Transfer&>(completion);
    Dispatch& dispatch = *transfer.dispatch;
    if (transfer.lane->completed(transfer, dispatch.on_direct_file(transfer), moves_data(transfer),
                                 dispatch.kernel_.now_ns())) {
        ++transfer.misses;
        dispatch.access_start(transfer);
        return;
    }
    if (completion.result == lane_lost) {
        dispatch.move_to_root(transfer);
        dispatch.access_start(transfer);
        return;
    }
    if (completion.result < 0) {
        dispatch.access_refused(transfer, errno_from(-completion.result));
        return;
    }
    // Operations without data have no partial success.
    const u64 bytes =
        moves_data(transfer) ? static_cast<u64>(completion.result) : transfer.range.length;
    dispatch.access_moved(transfer, bytes);
}

void Dispatch::access_moved(Transfer& transfer, u64 bytes) {
    ASSERT(bytes <= transfer.range.length);
    if (bytes == 0) {
        // A read of nothing is the end of a file that was cut short under us; a write of nothing
        // is a file system that gives no reason. Neither may be acknowledged.
        if (transfer.op == Op::read) {
            clear_vectors(transfer);
            device_.note_end(transfer.range.offset);
        }
        access_failed(transfer, Errno::io);
        return;
    }
    if (moves_data(transfer)) drop_front(transfer.vectors.data(), transfer.vector_first, bytes);
    transfer.range.offset += bytes;
    transfer.range.length -= bytes;
    transfer.retries = 0;
    // Whoever has all of its bytes need not wait for its neighbours, nor fail with them.
    while (transfer.request_count > 1 &&
           transfer.requests.front()->range.end() <= transfer.range.offset) {
        --transfer.request_count;
        answer(*transfer.lane, *transfer.requests.pop(), Errno::ok);
    }
    if (transfer.range.length > 0) {
        access_start(transfer);
    } else if (transfer.needs_sync) {
        sync_start(transfer);
    } else {
        finish(transfer, Errno::ok);
    }
}

// An error that another attempt or another way may still turn into success.
void Dispatch::access_refused(Transfer& transfer, Errno error) {
    const backing::Backing& backing = device_.backing();
    const bool again = error == Errno::again || error == Errno::interrupted;
    if (again && transfer.retries < retries_max) {
        ++transfer.retries;
        if (error == Errno::again) ++transfer.misses;
        access_start(transfer);
        return;
    }
    if (error == Errno::invalid && backing.fall_back_to_buffered(handle_, transfer.operation)) {
        // Buffered transfers keep their workers for longer, so there may be more of them.
        if (Status settled = settle(); !settled) log::warning("{}", settled.error().message);
        access_start(transfer);
        return;
    }
    const bool by_range = transfer.op == Op::discard || transfer.op == Op::write_zeroes;
    if (error == Errno::not_supported && by_range && !transfer.zeroing) {
        if (backing.note_unsupported(kind_of(transfer), transfer.operation)) {
            access_start(transfer);
            return;
        }
        if (transfer.op == Op::write_zeroes) {
            zeroes_start(transfer);
            return;
        }
    }
    // EAGAIN is between us and the kernel; no client knows what to do with it.
    access_failed(transfer, again ? Errno::io : error);
}

void Dispatch::access_failed(Transfer& transfer, Errno error) {
    // It may have been the sync in the write that failed, and with it earlier writes.
    if (transfer.durable && error == Errno::io) device_.poison(error);
    if (transfer.request_count > 1) {
        split(transfer);
        return;
    }
    finish(transfer, error);
}

void Dispatch::zeroes_start(Transfer& transfer) {
    if (transfer.fast_zero) {
        finish(transfer, Errno::not_supported);
        return;
    }
    transfer.zeroing = true;
    access_start(transfer);
}

void Dispatch::sync_start(Transfer& transfer) {
    if (sync_running_) {
        syncs_waiting_.push(transfer);
        stats_.merged.add(transfer.request_count);
        return;
    }
    sync_submit(transfer);
}

void Dispatch::sync_submit(Transfer& transfer) {
    sync_running_ = &transfer;
    backing::Access sync;
    sync.kind = Kind::sync;
    transfer.operation = device_.backing().operation(handle_, sync);
    transfer.done = sync_on_backing;
    stats_.operations.add(1);
    root_.start_other(transfer);
}

void Dispatch::sync_on_backing(io::Completion& completion) {
    auto& transfer = static_cast<Transfer&>(completion);
    Dispatch& dispatch = *transfer.dispatch;
    dispatch.root_.completed(transfer, false, false, 0);
    const Errno error = completion.result < 0 ? errno_from(-completion.result) : Errno::ok;
    const bool again = error == Errno::again || error == Errno::interrupted;
    if (again && transfer.retries < retries_max) {
        ++transfer.retries;
        dispatch.sync_submit(transfer);
        return;
    }
    if (error != Errno::ok) {
        dispatch.device_.poison(error);
        dispatch.sync_ended(transfer, again ? Errno::io : error);
        return;
    }
    // Another shard's sync may have failed while ours was under way; ours covers its writes too.
    dispatch.sync_ended(transfer, dispatch.device_.poisoned() ? Errno::io : Errno::ok);
}

void Dispatch::sync_ended(Transfer& transfer, Errno result) {
    TransferList covered = syncs_covered_.take();
    sync_running_ = nullptr;
    if (Transfer* next = syncs_waiting_.pop()) {
        syncs_covered_ = syncs_waiting_.take();
        sync_submit(*next);
    }
    finish(transfer, result);
    while (Transfer* other = covered.pop()) finish(*other, result);
}

// One of several adjacent requests failed and the kernel does not say which: each goes by itself,
// so that one bad block does not fail its neighbours.
void Dispatch::split(Transfer& transfer) {
    const u64 cgroup = transfer.cgroup;
    RequestList requests = transfer.requests.take();
    transfer.lane->withdraw(transfer);
    pool_.give_back(transfer);
    while (Request* request = requests.pop()) {
        Transfer& alone = pool_.take(*request);
        alone.cgroup = cgroup;
        start(alone);
    }
}

void Dispatch::finish(Transfer& transfer, Errno result) {
    RequestList requests = transfer.requests.take();
    Lane& lane = *transfer.lane;
    lane.leave(transfer);
    pool_.give_back(transfer);
    while (Request* request = requests.pop()) answer(lane, *request, result);
}

void Dispatch::answer(Lane& lane, Request& request, Errno result) {
    request.result = result;
    lane.answered(request);
    on_answer_(context_, request);
}

}  // namespace ringloop::engine
