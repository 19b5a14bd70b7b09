// What the dispatcher may do with a transfer, as parameters: every way in which the kernel's loop
// driver ever dispatched is a row of the same table, and there is no code for any one of them.
//
// docs/policies.md tells a user what to choose; the history behind the rows: the driver's commits
// b5dd2f6047ca (4.0), bc07c10a3603 (4.4), 87579e9b7d8d (5.14) and the NOWAIT series of 2025, which
// was taken back.
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "base/int.h"
#include "base/result.h"

namespace ringloop::engine {

// When a direct write is worth a try without blocking.
enum class Hint : u8 {
    none,     // always
    pending,  // unless a write that may block waits for a worker or is with one
    learned,  // the same, and after each miss in a row twice as many writes go by before the next
};

struct Policy {
    const char* name;
    const char* summary;      // one line, for people
    const char* origin = "";  // whose way it is: "as Linux 3.19 did"
    bool nowait = false;      // direct: RWF_NOWAIT first, a worker only where that says EAGAIN
    bool cache_try = false;   // buffered: what the page cache has is copied by the shard itself
    Hint hint = Hint::none;
    bool direct_async = false;       // a direct transfer needs its worker for the submission only
    bool reads_concurrent = false;   // otherwise they take their turn on the serial list
    bool writes_concurrent = false;  // and whatever else is no read
    u32 workers = 1;                 // at most, of the device; --workers says otherwise
    bool lane_per_cgroup = false;
    bool one_queue = false;  // the kernel's driver had a single hardware queue

    // Where a serial list exists, transfers beyond the bound join it; where none does, they wait
    // for the first worker that becomes free.
    bool serial() const { return !reads_concurrent || !writes_concurrent; }
};

inline constexpr u32 workers_max = 512;  // what the kernel gives a workqueue that asks for no more

std::span<const Policy> policies();  // the default first
const Policy& default_policy();
// The error names the choices.
Result<const Policy*> find_policy(std::string_view name);

// A policy with what a person said about it: what a device dispatches by.
struct Dispatching {
    const Policy* policy = &default_policy();
    u32 workers = default_policy().workers;  // of the device, 1 to workers_max
    u32 shards = 1;                          // that share them

    bool operator==(const Dispatching&) const = default;

    // Workers of one shard. No fewer than one: a device has no fewer workers than queues.
    u32 workers_of_shard() const { return shards >= workers ? 1 : workers / shards; }
};

// Found and measured, for the sentences below.
struct PathFacts {
    bool block_device = false;
    bool direct = false;  // by now
    bool read_only = false;
    std::string filesystem{};  // "ext4", "" for a block device
    bool compressing = false;  // it may store what is written elsewhere, and smaller
    bool sparse = false;       // holes at attach
    bool nowait_read = true;   // as far as known: the file takes RWF_NOWAIT
    bool nowait_write = true;
    u64 nowait_attempts = 0;  // of all shards, with the next two
    u64 nowait_eagain = 0;
    u64 hint_skips = 0;
    u32 workers = 1;       // the device's, at most
    u32 queues = 1;        // that share them
    bool charged = false;  // to other cgroups than the server's, each in a lane of its own
};

// "1 worker", "16 workers"
std::string workers_text(u32 count);

// Which path a device's I/O takes and why, for people: a sentence or two, of which the numbers
// change as I/O goes on.
std::string explain(const Policy& policy, const PathFacts& facts);

}  // namespace ringloop::engine
