#include "engine/device.h"

#include "base/log.h"

namespace ringloop::engine {
namespace {

bool moves_data(Op op) { return op == Op::read || op == Op::write; }
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
        const bool grows = request.op == Op::write || request.op == Op::write_zeroes;
        return grows ? Errno::no_space : Errno::invalid;
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
    if (on_poisoned) on_poisoned(on_poisoned_context);
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
