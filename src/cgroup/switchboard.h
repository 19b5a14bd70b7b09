// The shared memory between the shards of a server and its lanes: processes in other cgroups,
// forked after it was mapped, so addresses in it are the same for all. A shard and a lane have a
// Channel for each other; each shard and each lane has one Doorbell for all of its channels.
//
// What a shard gives to a lane is a Job in one of the channel's slots, as many as may be in flight,
// so neither ring below can overflow. A side publishes by storing its tail (release) after what it
// wrote; a process that is killed in between has published nothing. The server believes nothing
// that it reads here: a lane may have been killed, or its memory damaged, at any moment.
#pragma once

#include <array>
#include <atomic>
#include <memory>

#include "base/result.h"
#include "base/shared_memory.h"
#include "engine/transfer.h"
#include "io/operation.h"

namespace ringloop::cgroup {

// A bit of a doorbell each, of the 63 that its word has for them.
inline constexpr u32 lanes_max = 62;
inline constexpr u32 shards_max = 62;
// Jobs in flight of one shard in one lane; more wait in the shard.
inline constexpr u32 jobs_max = 256;

// Who has something for its owner, and whether the owner sleeps and has to be woken (by an
// eventfd). One word, so that neither can be missed between a look and a sleep.
class Doorbell {
public:
    // Any process. `bit` below 62. True: the owner sleeps, and this caller is the one to wake it.
    bool ring(u32 bit) {
        u64 seen = word_.load(std::memory_order_relaxed);
        while (!word_.compare_exchange_weak(seen, (seen & ~asleep) | u64{1} << bit,
                                            std::memory_order_acq_rel, std::memory_order_relaxed)) {
        }
        return (seen & asleep) != 0;
    }

    // The owner: announces that it goes to sleep. False: somebody has rung.
    bool doze() {
        u64 silent = 0;
        return word_.compare_exchange_strong(silent, asleep, std::memory_order_acq_rel,
                                             std::memory_order_relaxed);
    }

    // The owner: who has rung since the last call. It is awake from here on.
    u64 take() {
        if (word_.load(std::memory_order_relaxed) == 0) return 0;
        return word_.exchange(0, std::memory_order_acq_rel) & ~asleep;
    }

    // Nobody uses it.
    void reset() { word_.store(0, std::memory_order_relaxed); }

private:
    static constexpr u64 asleep = u64{1} << 63;

    alignas(64) std::atomic<u64> word_ = 0;
};

// An operation on the image, and how it went.
struct Job {
    io::Operation operation;  // its vectors are the ones below; its file is for `direct` to say
    bool direct = false;      // which of the image's two files
    i32 result = 0;
    u64 call_ns = 0;
    std::array<iovec, engine::merge_requests_max> vectors;
};

struct Channel {
    alignas(64) std::atomic<u32> submitted = 0;  // jobs that the shard has published, ever
    std::atomic<u32> workers = 0;  // that its transfers may have there; 0: it is not here yet
    alignas(64) std::atomic<u32> completed = 0;  // jobs that the lane has published, ever
    alignas(
        64) std::array<u16, jobs_max> submissions;  // numbers of jobs, at `submitted` % jobs_max
    std::array<u16, jobs_max> completions;
    std::array<Job, jobs_max> jobs;
};

class Switchboard {
public:
    // Before any lane is forked. Costs memory only where lanes use it.
    static Result<std::unique_ptr<Switchboard>> create(u32 shards);

    u32 shards() const { return shards_; }
    Doorbell& shard(u32 shard) { return doorbells_[shard]; }
    Doorbell& lane(u32 lane) { return doorbells_[shards_ + lane]; }
    Channel& channel(u32 lane, u32 shard) {
        return reinterpret_cast<Channel*>(memory_.data() + offset_of(lane))[shard];
    }

    // As new, and without memory: nobody uses the lane's part, its process has ended.
    void reset(u32 lane);

private:
    Switchboard(SharedMemory memory, u32 shards);
    u64 offset_of(u32 lane) const { return lanes_offset_ + lane * lane_bytes_; }

    SharedMemory memory_;
    u32 shards_;
    u64 lanes_offset_;
    u64 lane_bytes_;
    Doorbell* doorbells_;  // of the shards, then of the lanes
};

}  // namespace ringloop::cgroup
