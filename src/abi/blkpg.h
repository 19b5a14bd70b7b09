// Partitions of a disk as the kernel is told of them: include/uapi/linux/blkpg.h, ioctl BLKPG.
#pragma once

#include <linux/blkpg.h>

static_assert(sizeof(blkpg_partition) == 152);
static_assert(BLKPG_DEL_PARTITION == 2);
