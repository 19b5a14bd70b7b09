// What a backing knows of its extents, made fit to be told to a client. doc/proto.md of the NBD
// project, NBD_CMD_BLOCK_STATUS and NBD_REPLY_TYPE_BLOCK_STATUS.
//
// The backing's extents begin and end anywhere and have any length; descriptors are whole minimum
// blocks, lie within the range that was asked for, are at most 2^32-1 long in a compact reply and
// at most as many as there is room for. Where a block is part one thing and part another, the
// client is told only what is true of all of it: a flag survives if both parts have it.
#pragma once

#include <span>

#include "frontend/nbd/reply.h"

namespace ringloop::nbd {

class ExtentFitter {
public:
    // `command` is a block status that validate let pass. The descriptors are put into `storage`,
    // which has room for at least one.
    ExtentFitter(const Agreement& agreement, const Command& command, std::span<Extent> storage);

    // Whether another extent could change the answer. False: what is known is enough.
    bool wants_more() const { return !full_ && covered_bytes() < range_bytes_; }
    // Where the next extent begins, in bytes behind the start of the command's range.
    u64 covered_bytes() const { return whole_bytes_ + part_bytes_; }

    // The extents one after another, from the start of the command's range on; the last may go
    // beyond its end. An empty one is ignored.
    void add(Extent found);

    // The descriptors: at least one. What was never added is told as data, which is always true.
    std::span<const Extent> finish();

private:
    void put_blocks(Extent blocks);

    // Constant after construction.
    const std::span<Extent> storage_;
    const u64 block_bytes_;
    const u64 range_bytes_;
    const u64 extent_bytes_max_;  // of one descriptor; whole blocks

    std::size_t count_ = 0;
    bool full_ = false;
    u64 whole_bytes_ = 0;  // in descriptors
    u64 part_bytes_ = 0;   // of the block behind them that is not complete yet
    u32 part_flags_ = 0;
};

}  // namespace ringloop::nbd
