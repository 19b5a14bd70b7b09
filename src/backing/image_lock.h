// Whoever writes to an image has it to itself: an open-file-description lock (fcntl(2)) on the
// bytes that the device is made of, as qemu takes them too. Two devices may lie side by side in one
// image.
#pragma once

#include "base/int.h"
#include "base/result.h"

namespace ringloop::backing {

struct LockRange {
    u64 offset_bytes = 0;
    u64 length_bytes = 0;  // 0: to the end, wherever that will be
};

// Held by the open file description of `fd`, so until its last descriptor is closed and its last
// request has ended. A writer's lock tolerates nobody, a reader's other readers; `fd` must be open
// for that. EBUSY: somebody has some of the bytes; who, the kernel does not tell. A filesystem that
// has no locks gives none and is no error. Never waits.
// What else the description held before is let go once it has the range.
Status lock_image(int fd, LockRange range, bool read_only);
// All that the description holds.
void unlock_image(int fd);

}  // namespace ringloop::backing
