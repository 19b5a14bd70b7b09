// What the kernel is told about the disk, worked out of the backing's geometry without any I/O.
#pragma once

#include "abi/ublk.h"
#include "backing/backing.h"
#include "base/result.h"

namespace ringloop::ublk {

// The driver's rules (drivers/block/ublk_drv.c, ublk_validate_params): logical block of 512 bytes
// to a page and not above the physical one, requests within `io_bytes_max`, a discard granularity
// that is not 0, one discard segment. The block layer's: powers of two.
//
// DMA_ALIGN (6.16) is not set: the driver copies between the caller's memory and our buffers, so
// the memory of a caller needs no alignment of ours.
Result<abi::ublk::Params> params_of(const backing::Geometry& geometry, u32 io_bytes_max,
                                    u32 page_size_bytes);

}  // namespace ringloop::ublk
