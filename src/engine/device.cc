#include "engine/device.h"

#include <time.h>

#include "base/log.h"

namespace ringloop::engine {
namespace {

bool moves_data(Op op) { return op == Op::read || op == Op::write; }
bool puts_data(Op op) { return op == Op::write || op == Op::write_zeroes; }
bool changes_data(Op op) { return op != Op::read && op != Op::flush && op != Op::prefetch; }

// When, and of what: 32, 16 and 16 bits, so that it is one word.
u64 cause_now(Op op, Errno error) {
    const u64 since_s = static_cast<u64>(::time(nullptr));
    return since_s << 32 | u64{static_cast<u32>(op)} << 16 | static_cast<u64>(to_number(error));
}

Device::Incident incident_of(u64 requests, u64 cause) {
    return {.requests = requests,
            .op = static_cast<Op>(cause >> 16 & 0xffff),
            .error = errno_from(static_cast<i32>(cause & 0xffff)),
            .since_s = cause >> 32};
}

}  // namespace

Errno Device::admit(const Request& request) const {
    const backing::Geometry& shape = geometry();
    ASSERT(request.done != nullptr);
    ASSERT(!moves_data(request.op) || request.range.length == 0 || request.buffer != nullptr);

    if (changes_data(request.op) && shape.read_only) return Errno::read_only;
    if (request.op == Op::flush) return poisoned() || stopped() ? Errno::io : Errno::ok;
    if (request.fua && poisoned()) return Errno::io;
    if (!request.range.fits(size_now())) {
        return puts_data(request.op) ? Errno::no_space : Errno::invalid;
    }
    const auto refused_from = static_cast<i64>(refused_from_.load(std::memory_order_relaxed));
    const bool refused = static_cast<i64>(request.range.end()) > refused_from;
    if (refused && (puts_data(request.op) || (changes_data(request.op) && stopped()))) {
        return Errno::io;
    }
    if (!is_aligned(request.range.offset | request.range.length, shape.request_alignment)) {
        return Errno::invalid;
    }
    // Which alignment a buffer needs is known before the first request: ours to get right.
    ASSERT(!moves_data(request.op) || !shape.direct ||
           is_aligned(reinterpret_cast<u64>(request.buffer), shape.memory_alignment));
    return Errno::ok;
}

void Device::poison(Errno cause) {
    if (poisoned_.exchange(true, std::memory_order_acq_rel)) return;
    log::error(
        "{}: a sync failed ({}); writes since the last flush may be lost, and every flush "
        "from now on fails: detach, check the storage below, attach again",
        backing_.path(), describe(cause));
    if (on_trouble) on_trouble(on_trouble_context);
}

void Device::note_failure(Op op, Errno error) {
    const bool first = failures_.fetch_add(1, std::memory_order_relaxed) == 0;
    if (first) {
        first_failure_.store(cause_now(op, error), std::memory_order_relaxed);
        log::error("{}: degraded: a {} failed: {}; see ringloop status", backing_.path(),
                   name_of(op), describe(error));
    }
    const bool change = changes_data(op) || op == Op::flush;
    if (change && on_error() == OnError::stop) stop(op, error);
    if (first && on_trouble) on_trouble(on_trouble_context);
}

void Device::note_end(u64 end) {
    u64 known = refused_from_.load(std::memory_order_relaxed);
    while (end < (known & no_end) &&
           !refused_from_.compare_exchange_weak(known, end | (known & stopped_bit),
                                                std::memory_order_relaxed)) {
    }
    if ((known & no_end) != no_end) return;
    log::error(
        "{}: degraded: the image was cut short and ends {} bytes before the device; reads and "
        "writes behind that fail: make it as long as it was, then ringloop resize",
        backing_.path(), size_now() - std::min(end, size_now()));
    if (on_trouble) on_trouble(on_trouble_context);
}

Device::Troubles Device::troubles() const {
    const Incident first = incident_of(0, first_failure_.load(std::memory_order_relaxed));
    const u64 end = refused_from_.load(std::memory_order_relaxed) & no_end;
    return {.failures = failures_.load(std::memory_order_relaxed),
            .op = first.op,
            .error = first.error,
            .since_s = first.since_s,
            .end = end == no_end ? ~u64{0} : end};
}

// ---- OnError::stop ----

void Device::stop(Op op, Errno error) {
    if (stopped()) return;
    stop_cause_.store(cause_now(op, error), std::memory_order_relaxed);
    if ((refused_from_.fetch_or(stopped_bit, std::memory_order_relaxed) & stopped_bit) != 0) return;
    log::error(
        "{}: stopped: a {} failed: {}; reads go on, everything else fails: see to the image, then "
        "ringloop set TARGET --resume",
        backing_.path(), name_of(op), describe(error));
    if (on_trouble) on_trouble(on_trouble_context);
}

Device::Incident Device::stop_cause() const {
    return incident_of(stopped() ? 1 : 0, stop_cause_.load(std::memory_order_relaxed));
}

void Device::inherit_stop() {
    refused_from_.fetch_or(stopped_bit, std::memory_order_relaxed);
    log::error(
        "{}: had stopped before this server took over: see to the image, then ringloop set TARGET "
        "--resume",
        backing_.path());
}

void Device::go_on() {
    failures_.store(0, std::memory_order_relaxed);
    first_failure_.store(0, std::memory_order_relaxed);
    stop_cause_.store(0, std::memory_order_relaxed);
    refused_from_.fetch_and(no_end, std::memory_order_relaxed);
}

// ---- OnError::pause ----

bool Device::waits_for_room(const Request& request) const {
    const bool no_room = request.result == Errno::no_space || request.result == Errno::quota;
    if (!no_room || !puts_data(request.op) || request.impatient) return false;
    // It may have been the sync behind a FUA write.
    if (request.fua && poisoned()) return false;
    return on_error() == OnError::pause;
}

void Device::note_held(Op op, Errno error) {
    if (held_.fetch_add(1, std::memory_order_relaxed) > 0) return;
    held_cause_.store(cause_now(op, error), std::memory_order_relaxed);
    log::error(
        "{}: paused: a {} found no room: {}; it waits, and so does every other that finds none: "
        "free some, or end the wait with ringloop set TARGET --on-error report",
        backing_.path(), name_of(op), describe(error));
    if (on_trouble) on_trouble(on_trouble_context);
}

void Device::note_released() {
    if (held_.fetch_sub(1, std::memory_order_relaxed) > 1) return;
    log::info("{}: no request waits for room any more", backing_.path());
    if (on_trouble) on_trouble(on_trouble_context);
}

Device::Incident Device::paused() const {
    return incident_of(held_.load(std::memory_order_relaxed),
                       held_cause_.load(std::memory_order_relaxed));
}

void Device::image_changed() {
    for (auto& supported : nowait_supported_) supported.store(true, std::memory_order_relaxed);
    failures_.store(0, std::memory_order_relaxed);
    first_failure_.store(0, std::memory_order_relaxed);
    forget_end();
}

// A new server would hear nothing of it: the kernel has told its error to the old one's files, and
// files that are opened later are not told again (errseq_t).
void Device::inherit_poison() {
    poisoned_.store(true, std::memory_order_release);
    log::error(
        "{}: a sync failed before this server took over; every flush fails: detach, check the "
        "storage below, attach again",
        backing_.path());
}

Status Device::sync_at_end() const {
    if (poisoned()) {
        return fail_errno(EIO,
                          "{}: what was written last may not be on stable storage: a sync failed "
                          "while the device was in use; check the file system under it",
                          backing_.path());
    }
    return backing_.sync();
}

}  // namespace ringloop::engine
