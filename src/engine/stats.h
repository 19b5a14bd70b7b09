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

struct ShardStats {
    std::array<OpStats, op_count> ops;
    Counter merged;      // requests that travelled in another one's operation
    Counter operations;  // handed to the kernel for them
    Counter passes;      // of the loop
    Counter started;     // requests admitted; started - finished are in flight
    Counter finished;

    OpStats& of(Op op) { return ops[static_cast<u32>(op)]; }
    const OpStats& of(Op op) const { return ops[static_cast<u32>(op)]; }
};

}  // namespace ringloop::engine
