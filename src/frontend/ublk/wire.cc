#include "frontend/ublk/wire.h"

#include <cerrno>
#include <limits>
#include <optional>

#include "base/assert.h"

namespace ringloop::ublk {

namespace wire = abi::ublk;

namespace {

std::optional<engine::Op> op_of(u32 op_flags) {
    switch (op_flags & wire::op_mask) {
        case wire::op_read: return engine::Op::read;
        case wire::op_write: return engine::Op::write;
        case wire::op_flush: return engine::Op::flush;
        case wire::op_discard: return engine::Op::discard;
        case wire::op_write_zeroes: return engine::Op::write_zeroes;
        default:  // zones, and whatever a later kernel invents: a number from outside
            return std::nullopt;
    }
}

bool carries_data(engine::Op op) { return op == engine::Op::read || op == engine::Op::write; }

}  // namespace

Errno decode(const wire::IoDescriptor& descriptor, u32 io_bytes_max, engine::Request& request) {
    const std::optional<engine::Op> op = op_of(descriptor.op_flags);
    if (!op) return Errno::not_supported;

    request.op = *op;
    request.fua = (descriptor.op_flags & wire::io_flag_fua) != 0;
    request.no_unmap = (descriptor.op_flags & wire::io_flag_no_unmap) != 0;
    request.range = {};
    // The position of a flush means nothing; the block layer leaves all ones there.
    if (*op == engine::Op::flush) return Errno::ok;

    constexpr u64 sectors_max = std::numeric_limits<u64>::max() >> wire::sector_shift;
    if (descriptor.start_sector > sectors_max) return Errno::invalid;
    request.range = {.offset = descriptor.start_sector << wire::sector_shift,
                     .length = u64{descriptor.sector_count} << wire::sector_shift};
    if (carries_data(*op) && request.range.length > io_bytes_max) return Errno::invalid;
    return Errno::ok;
}

i32 result_on_wire(const engine::Request& request) {
    if (request.result != Errno::ok) return errno_on_wire(request.result);
    return carries_data(request.op) ? static_cast<i32>(request.range.length) : 0;
}

i32 errno_on_wire(Errno error) {
    switch (error) {
        case Errno::ok: return 0;
        // The block layer has a status for these.
        case Errno::no_memory:
        case Errno::invalid:
        case Errno::no_space:
        case Errno::not_supported:
        case Errno::timed_out:
        case Errno::remote_io: return -to_number(error);
        // No space for us: whoever writes has to do the same about it.
        case Errno::quota:
        case Errno::file_too_big: return -ENOSPC;
        // EAGAIN would become BLK_STS_AGAIN, which tells a caller that never asked for
        // non-blocking I/O to try again; EINTR has no meaning for a disk either.
        case Errno::again:
        case Errno::interrupted:
        // The block layer would call these an I/O error anyway.
        case Errno::not_permitted:
        case Errno::io:
        case Errno::read_only:
        case Errno::stale:
        case Errno::cancelled:
        case Errno::shutdown: return -EIO;
    }
    ASSERT(false);  // an Errno outside its enumeration
    return -EIO;
}

}  // namespace ringloop::ublk
