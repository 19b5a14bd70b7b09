// What a shard counts. Written by the shard's thread, read by any.
#pragma once

#include <array>

#include "base/histogram.h"
#include "engine/request.h"

namespace ringloop::engine {

struct OpStats {
    Counter requests;  // answered, with or without success
    Counter bytes;     // of those answered with success
    Counter errors;
    Histogram latency_ns;  // from submit to the answer
};

// What one lane did for one shard.
struct LaneStats {
    Counter started;   // requests that went its way; started - finished are in flight
    Counter finished;  // answered, or taken out again: for the root lane, or one by one
    Counter bytes_read;
    Counter bytes_written;
    Gauge workers_now;  // that its transfers may keep busy at this moment
};

struct ShardStats {
    std::array<OpStats, op_count> ops;
    LaneStats root_lane;
    Counter merged;      // requests that travelled in another one's operation
    Counter operations;  // handed to the kernel for them
    Counter passes;      // of the loop
    Counter syscalls;    // made by the shard's thread: enters of the ring and plain calls

    // Dispatch (engine/dispatch.h, lane.h).
    Counter nowait_attempts;     // operations tried with RWF_NOWAIT
    Counter nowait_eagain;       // of those, would have blocked
    Counter nowait_unsupported;  // of those, refused by the file (EOPNOTSUPP)
    Counter hint_skips;          // not tried, because lately it did not pay
    Counter lane_requests;       // requests that a worker was asked to do
    Counter serial_overflow;     // transfers that found every worker taken
    Gauge workers_now;           // that transfers may keep busy at this moment
    Counter workers_max_seen;    // the most of that
    Counter lane_fallbacks;      // requests that a lane gave back, for the root lane to do
    Counter started;             // requests admitted; started - finished are in flight
    Counter finished;

    OpStats& of(Op op) { return ops[static_cast<u32>(op)]; }
    const OpStats& of(Op op) const { return ops[static_cast<u32>(op)]; }
};

}  // namespace ringloop::engine
