// The plug holds back what one pass of the loop brought in, so that adjacent requests become one
// operation, and every flush of the pass shares one sync.
//
// Merged are reads with reads and writes with writes of one cgroup, at either end of a transfer,
// without FUA. A request is never moved before another that it overlaps, nor a write before a flush
// that arrived first: nothing demands that order of requests in flight together, but whoever reads
// a trace expects it.
#pragma once

#include <array>

#include "engine/stats.h"
#include "engine/transfer.h"

namespace ringloop::engine {

class Plug {
public:
    Plug(TransferPool& pool, ShardStats& stats) : pool_(pool), stats_(stats) {}

    void add(Request& request);
    bool empty() const { return transfers_.empty(); }

    // Everything held, in the order of arrival.
    TransferList unplug();

private:
    // Searched for a neighbour, newest first. Sequential streams of several jobs interleave, so
    // the neighbour is rarely further away than there are jobs.
    static constexpr u32 window = 8;

    Transfer* neighbour_of(const Request& request);
    void open(Transfer& transfer);

    TransferPool& pool_;
    ShardStats& stats_;
    TransferList transfers_;
    std::array<Transfer*, window> recent_{};
    u32 recent_count_ = 0;  // opened since the last unplug or flush; the newest window of them
    Transfer* flush_ = nullptr;
};

}  // namespace ringloop::engine
