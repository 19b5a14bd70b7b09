#include "frontend/nbd/extents.h"

#include <algorithm>
#include <limits>

namespace ringloop::nbd {

namespace {

u64 extent_bytes_max(const Agreement& agreement) {
    const u64 limit = agreement.style == ReplyStyle::extended ? std::numeric_limits<u64>::max()
                                                              : std::numeric_limits<u32>::max();
    return align_down(limit, agreement.block_bytes_min);
}

}  // namespace

ExtentFitter::ExtentFitter(const Agreement& agreement, const Command& command,
                           std::span<Extent> storage)
    : storage_(storage.first(
          std::min<std::size_t>(storage.size(), command.req_one ? 1 : extents_on_wire_max))),
      block_bytes_(agreement.block_bytes_min),
      range_bytes_(command.range.length),
      extent_bytes_max_(extent_bytes_max(agreement)) {
    ASSERT(!storage_.empty());
    ASSERT(command.type == CommandType::block_status && range_bytes_ > 0);
    ASSERT(is_aligned(range_bytes_, block_bytes_));
}

void ExtentFitter::add(Extent found) {
    // The range ends at a block, so no sum below can pass it.
    u64 left = std::min(found.length, range_bytes_ - covered_bytes());
    if (part_bytes_ > 0 && left > 0) {
        const u64 taken = std::min(left, block_bytes_ - part_bytes_);
        part_flags_ &= found.flags;
        part_bytes_ += taken;
        left -= taken;
        if (part_bytes_ < block_bytes_) return;
        part_bytes_ = 0;
        put_blocks({.length = block_bytes_, .flags = part_flags_});
    }
    const u64 whole = align_down(left, block_bytes_);
    put_blocks({.length = whole, .flags = found.flags});
    if (full_ || left == whole) return;
    part_bytes_ = left - whole;
    part_flags_ = found.flags;
}

std::span<const Extent> ExtentFitter::finish() {
    if (part_bytes_ > 0 && !full_) {
        part_bytes_ = 0;
        put_blocks({.length = block_bytes_, .flags = 0});
    }
    if (count_ == 0) put_blocks({.length = range_bytes_, .flags = 0});
    return storage_.first(count_);
}

// Joins equal neighbours; a length that one descriptor cannot hold goes on in the next.
void ExtentFitter::put_blocks(Extent blocks) {
    while (blocks.length > 0 && !full_) {
        Extent* last = count_ > 0 ? &storage_[count_ - 1] : nullptr;
        if (last == nullptr || last->flags != blocks.flags || last->length == extent_bytes_max_) {
            if (count_ == storage_.size()) {
                full_ = true;
                return;
            }
            last = &storage_[count_++];
            *last = {.length = 0, .flags = blocks.flags};
        }
        const u64 taken = std::min(blocks.length, extent_bytes_max_ - last->length);
        last->length += taken;
        whole_bytes_ += taken;
        blocks.length -= taken;
    }
}

}  // namespace ringloop::nbd
