// Whether a transfer is worth a try that cannot block before a worker gets it, and what is learned
// from how it went.
//
// Direct transfers are tried on the ring with RWF_NOWAIT: the answer EAGAIN comes back instead of
// a thread of the kernel that blocks for it, and the lane decides who does. The hint for sparse
// files (Hint::pending): allocating writes come in crowds, so while one may block, no other is
// tried. A block device allocates nothing and is always tried; reads too.
//
// What the page cache holds is answered by a plain call on the shard's own thread at the cost of a
// copy, without a second pass of the loop. Some filesystems (ext4) refuse every buffered write that
// may not block, and the ring then hands each one to a worker at twice the cost; there the call is
// made without the flag, and as soon as one took long, writes go to the lane for a while.
#pragma once

#include <sys/uio.h>

#include <algorithm>

#include "engine/device.h"
#include "engine/stats.h"
#include "io/operation.h"

namespace ringloop::engine {

// How an operation that moves data reaches the backing.
enum class Way : u8 {
    thread,  // a call on the shard's thread when the pass begins
    nowait,  // an entry of the ring that answers EAGAIN rather than block
    ring,    // an entry of the ring: the kernel waits for pages without a worker where it can
    worker,  // the lane
};

// The hint for sparse files, whole (Hint::pending): whether a direct transfer may be tried while
// `blocking_writes` of the same lane may block.
constexpr bool worth_a_try(bool block_device, bool read, u32 blocking_writes) {
    return block_device || read || blocking_writes == 0;
}

class Nowait {
public:
    // `blocking_writes`: direct writes that may block and are not done.
    Nowait(Device& device, ShardStats& stats, const std::atomic<u32>& blocking_writes)
        : device_(device), stats_(stats), blocking_writes_(blocking_writes) {}

    // For a transfer of data on the direct or the buffered file, which missed `misses` times
    // already; sets what the way needs in `operation`. Shard's thread.
    Way choose(io::Operation& operation, bool direct, u32 misses, u64 now_ns) {
        const Policy& policy = *device_.dispatching().policy;
        if (direct) return choose_direct(policy, operation, misses);
        return policy.cache_try ? choose_buffered(operation, misses, now_ns) : Way::worker;
    }

    // What became of it. True: it has not been carried out, and another way should do it now.
    bool refused(const io::Operation& operation, bool direct, i32 result, u64 call_ns, u64 now_ns) {
        const bool read = reads(operation);
        const bool tried = (operation.rw_flags & nowait_flag) != 0;
        if (tried && result == -to_number(Errno::not_supported)) {
            device_.note_nowait_unsupported(direct, read);
            stats_.nowait_unsupported.add(1);
            return true;
        }
        Streak& streak = streak_of(direct, read);
        if (tried && result == -to_number(Errno::again)) {
            stats_.nowait_eagain.add(1);
            streak.misses = std::min(streak.misses + 1, misses_max);
            streak.skip = 1U << streak.misses;
            return true;
        }
        if (tried) streak.misses = 0;
        const u64 patience_ns = call_ns_max + operation.length;  // a slow copy is 1 byte a ns
        const bool slow = operation.on_thread && !tried && call_ns > patience_ns;
        if (slow) write_again_ns_ = now_ns + rest_factor * call_ns;
        return false;
    }

    static bool reads(const io::Operation& operation) {
        using Code = io::Operation::Code;
        return operation.code == Code::read || operation.code == Code::readv;
    }

private:
    // What would copy more would keep all other requests waiting.
    static constexpr u64 call_bytes_max = 256 * kib;
    static constexpr u32 misses_max = 6;
    static constexpr u64 call_ns_max = 200'000;
    static constexpr u64 rest_factor = 16;
    static constexpr u32 nowait_flag = RWF_NOWAIT;

    struct Streak {
        u32 misses = 0;  // in a row
        u32 skip = 0;    // operations to go by before the next try
    };

    Way choose_direct(const Policy& policy, io::Operation& operation, u32 misses) {
        const bool read = reads(operation);
        if (!policy.nowait || misses > 0 || !device_.nowait_supported(true, read)) {
            return Way::worker;
        }
        if (hinted(policy.hint, read)) {
            stats_.hint_skips.add(1);
            return Way::worker;
        }
        try_it(operation);
        return Way::nowait;
    }

    bool hinted(Hint hint, bool read) {
        if (hint == Hint::none) return false;
        const u32 blocking = blocking_writes_.load(std::memory_order_relaxed);
        if (!worth_a_try(device_.geometry().block_device, read, blocking)) return true;
        return hint == Hint::learned && passes_by(streak_of(true, read));
    }

    Way choose_buffered(io::Operation& operation, u32 misses, u64 now_ns) {
        const bool read = reads(operation);
        const bool supported = device_.nowait_supported(false, read);
        if (misses > 1) return Way::worker;
        // What takes no NOWAIT, the kernel could only hand to a worker of its own accord.
        const Way beside = supported ? Way::ring : Way::worker;
        if (misses > 0 || operation.length > call_bytes_max) return beside;
        if (passes_by(streak_of(false, read))) {
            stats_.hint_skips.add(1);
            return beside;
        }
        if (!supported && (read || now_ns < write_again_ns_)) return beside;
        operation.on_thread = true;
        if (supported) try_it(operation);
        return Way::thread;
    }

    static bool passes_by(Streak& streak) {
        if (streak.skip == 0) return false;
        --streak.skip;
        return true;
    }

    void try_it(io::Operation& operation) {
        operation.rw_flags |= nowait_flag;
        stats_.nowait_attempts.add(1);
    }

    Streak& streak_of(bool direct, bool read) {
        return streaks_[(direct ? 2U : 0U) + (read ? 1U : 0U)];
    }

    Device& device_;
    ShardStats& stats_;
    const std::atomic<u32>& blocking_writes_;
    std::array<Streak, 4> streaks_{};
    u64 write_again_ns_ = 0;
};

}  // namespace ringloop::engine
