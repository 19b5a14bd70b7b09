#include "engine/device.h"

#include <time.h>

#include "base/log.h"

namespace ringloop::engine {
namespace {

bool moves_data(Op op) { return op == Op::read || op == Op::write; }
bool puts_data(Op op) { return op == Op::write || op == Op::write_zeroes; }
bool changes_data(Op op) { return op != Op::read && op != Op::flush && op != Op::prefetch; }

}  // namespace

Errno Device::admit(const Request& request) const {
    const backing::Geometry& shape = geometry();
    ASSERT(request.done != nullptr);
    ASSERT(!moves_data(request.op) || request.range.length == 0 || request.buffer != nullptr);

    if (changes_data(request.op) && shape.read_only) return Errno::read_only;
    if (request.op == Op::flush) return poisoned() ? Errno::io : Errno::ok;
    if (request.fua && poisoned()) return Errno::io;
    if (!request.range.fits(size_now())) {
        return puts_data(request.op) ? Errno::no_space : Errno::invalid;
    }
    const bool beyond = request.range.end() > image_end_.load(std::memory_order_relaxed);
    if (beyond && puts_data(request.op)) return Errno::io;
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
    if (failures_.fetch_add(1, std::memory_order_relaxed) > 0) return;
    const u64 since_s = static_cast<u64>(::time(nullptr));
    first_failure_.store(
        since_s << 32 | u64{static_cast<u32>(op)} << 16 | static_cast<u64>(to_number(error)),
        std::memory_order_relaxed);
    log::error("{}: degraded: a {} failed: {}; see ringloop status", backing_.path(), name_of(op),
               describe(error));
    if (on_trouble) on_trouble(on_trouble_context);
}

void Device::note_end(u64 end) {
    u64 known = image_end_.load(std::memory_order_relaxed);
    while (end < known &&
           !image_end_.compare_exchange_weak(known, end, std::memory_order_relaxed)) {
    }
    if (known != ~u64{0}) return;
    log::error(
        "{}: degraded: the image was cut short and ends {} bytes before the device; reads and "
        "writes behind that fail: make it as long as it was, then ringloop resize",
        backing_.path(), size_now() - std::min(end, size_now()));
    if (on_trouble) on_trouble(on_trouble_context);
}

Device::Troubles Device::troubles() const {
    const u64 first = first_failure_.load(std::memory_order_relaxed);
    return {.failures = failures_.load(std::memory_order_relaxed),
            .op = static_cast<Op>(first >> 16 & 0xffff),
            .error = errno_from(static_cast<i32>(first & 0xffff)),
            .since_s = first >> 32,
            .end = image_end_.load(std::memory_order_relaxed)};
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
