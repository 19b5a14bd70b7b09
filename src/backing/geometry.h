// The device's shape, computed from what was found: no system call here, so tables test it.
#pragma once

#include <string>

#include "backing/backing.h"
#include "backing/block_device.h"

namespace ringloop::backing {

// How much of the image the device shows.
struct Extent {
    u64 size_bytes = 0;  // whole sectors, at least one
    u64 bytes_cut = 0;   // behind them, below one sector
};

// A sizelimit beyond the end is cut as losetup does. The errors lack the image's name.
Result<Extent> fit_extent(u64 image_bytes, u64 offset_bytes, u64 sizelimit_bytes,
                          u32 sector_size_bytes);

struct ShapeFacts {
    u64 offset_bytes = 0;
    u32 sector_size_bytes = 512;
    u32 io_block_bytes = 512;  // st_blksize, of a regular file
    bool block_device = false;
    bool read_only = false;
    bool punch_hole = false;       // a regular file that accepts FALLOC_FL_PUNCH_HOLE
    bool discard_command = false;  // the kernel has BLOCK_URING_CMD_DISCARD
    QueueLimits limits{};          // of the block device, or of the one that the file lies on
};

// Fills what concerns block sizes, rotation, discard and zeroes; leaves the rest of `geometry`.
void shape(const ShapeFacts& facts, Geometry& geometry);

}  // namespace ringloop::backing
