// What a block device says of itself, in sysfs: the limits of its queue.
#pragma once

#include <sys/types.h>

#include <string>

#include "base/int.h"

namespace ringloop::backing {

// /sys/dev/block/MAJOR:MINOR/queue, as in Documentation/ABI/stable/sysfs-block. Bytes; 0 where the
// kernel does not say.
struct QueueLimits {
    u32 logical_block_bytes = 0;
    u32 physical_block_bytes = 0;
    u32 io_min_bytes = 0;
    u32 io_optimal_bytes = 0;
    u32 discard_granularity_bytes = 0;
    u64 discard_max_bytes = 0;       // 0: cannot discard
    u64 write_zeroes_max_bytes = 0;  // 0: cannot zero without writing
    bool rotational = false;
    bool found = false;  // not on btrfs, overlayfs, tmpfs, network file systems; nor without sysfs
};

// A partition has the limits of its disk. Any thread; may block. Tests give another `sysfs`.
QueueLimits read_queue_limits(dev_t device, const std::string& sysfs = "/sys");

// Whether a release as uname(2) gives it ("6.12.1-amd64") is at least `major`.`minor`.
bool release_at_least(const std::string& release, u32 major, u32 minor);

// BLOCK_URING_CMD_DISCARD came with Linux 6.12 and cannot be asked for without discarding.
bool kernel_has_discard_command();

}  // namespace ringloop::backing
