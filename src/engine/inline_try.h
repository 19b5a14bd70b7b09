// Whether an operation on the page cache is worth a plain system call on the shard's own thread
// before the ring gets it.
//
// What the cache holds is answered by such a call at the cost of a copy, without a second pass of
// the loop and without a worker of the kernel. A read, and a write where the filesystem can, is
// tried with RWF_NOWAIT and cannot block. Some filesystems (ext4) refuse every buffered write that
// may not block, and the ring then hands each one to a worker at twice the cost; there the call is
// made without the flag, and as soon as one took long, writes go to the ring for a while.
#pragma once

#include <sys/uio.h>

#include <algorithm>

#include "base/errno.h"
#include "base/int.h"
#include "io/operation.h"

namespace ringloop::engine {

class InlineTry {
public:
    // Makes `operation`, a transfer on a buffered file, a call on this thread where that looks
    // worthwhile. What would copy more than bytes_max would keep all other requests waiting.
    void choose(io::Operation& operation, u64 now_ns) {
        const bool read = reads(operation);
        Way& way = read ? read_ : write_;
        if (operation.length > bytes_max || way.skip > 0) {
            if (way.skip > 0) --way.skip;
            return;
        }
        if (!way.nowait && (read || now_ns < write_again_ns_)) return;
        operation.on_thread = true;
        if (way.nowait) operation.rw_flags |= nowait_flag;
    }

    // What became of it. True: it has not been carried out, and the ring should do it now.
    bool refused(io::Operation& operation, i32 result, u64 call_ns, u64 now_ns) {
        const bool read = reads(operation);
        Way& way = read ? read_ : write_;
        const bool tried = (operation.rw_flags & nowait_flag) != 0;
        if (tried && result == -to_number(Errno::not_supported)) {
            way.nowait = false;
            return true;
        }
        if (tried && result == -to_number(Errno::again)) {
            // The hint of a sparse file or a cold one: the next try comes later each time.
            way.misses = std::min(way.misses + 1, misses_max);
            way.skip = 1U << way.misses;
            return true;
        }
        way.misses = 0;
        const u64 patience_ns = call_ns_max + operation.length;  // a slow copy is 1 byte a ns
        if (!tried && call_ns > patience_ns) write_again_ns_ = now_ns + rest_factor * call_ns;
        return false;
    }

private:
    static constexpr u64 bytes_max = 256 * kib;
    static constexpr u32 misses_max = 6;
    static constexpr u64 call_ns_max = 200'000;
    static constexpr u64 rest_factor = 16;
    static constexpr u32 nowait_flag = RWF_NOWAIT;

    struct Way {
        bool nowait = true;  // the filesystem takes RWF_NOWAIT, as far as known
        u32 misses = 0;      // in a row
        u32 skip = 0;        // operations to go by before the next try
    };

    static bool reads(const io::Operation& operation) {
        using Code = io::Operation::Code;
        return operation.code == Code::read || operation.code == Code::readv;
    }

    Way read_;
    Way write_;
    u64 write_again_ns_ = 0;
};

}  // namespace ringloop::engine
