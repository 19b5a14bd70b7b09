// Lists of buffers as the system calls take them.
#pragma once

#include <sys/uio.h>

#include <algorithm>
#include <cstddef>

#include "base/int.h"

namespace ringloop {

// Takes `bytes`, which have been moved, from the front of the vectors from `first` on; `first` ends
// at the one that comes next. There are that many.
inline void drop_front(iovec* vectors, u32& first, u64 bytes) {
    while (bytes > 0) {
        iovec& vector = vectors[first];
        const u64 taken = std::min<u64>(bytes, vector.iov_len);
        vector.iov_base = static_cast<std::byte*>(vector.iov_base) + taken;
        vector.iov_len -= taken;
        if (vector.iov_len == 0) ++first;
        bytes -= taken;
    }
}

}  // namespace ringloop
