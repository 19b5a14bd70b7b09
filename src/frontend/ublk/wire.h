// ublk's descriptors and results, translated without any I/O.
// include/uapi/linux/ublk_cmd.h; drivers/block/ublk_drv.c for what the driver makes of a result.
#pragma once

#include "abi/ublk.h"
#include "base/errno.h"
#include "engine/request.h"

namespace ringloop::ublk {

// Fills op, flags and range of `request`. Anything but ok: nothing to submit, to be committed as
// errno_on_wire of it. An operation that we never advertised is not_supported; a read or write
// larger than the tag's buffer of io_bytes_max is invalid. Bounds are the engine's to check.
Errno decode(const abi::ublk::IoDescriptor& descriptor, u32 io_bytes_max, engine::Request& request);

// What to commit for an answered request: the bytes of a read or write, 0 for the others, or
// -errno. The driver resubmits the rest of a short positive one, and fails a read of 0 bytes.
i32 result_on_wire(const engine::Request& request);

// The one place where an error is narrowed to what the block layer can tell its callers
// (errno_to_blk_status, block/blk-core.c). Negative, or 0 for ok.
i32 errno_on_wire(Errno error);

}  // namespace ringloop::ublk
