// Reading all of an image to learn whether it can be read, or whether it is the same as another.
#pragma once

#include <vector>

#include "backing/image.h"
#include "backing/preallocate.h"
#include "base/range.h"

namespace ringloop::backing {

// What a reader tries at once, and the unit in which it tells what is bad.
inline constexpr u64 scrub_bytes = u64{4} << 20;
inline constexpr u64 scrub_unit_bytes = 4096;
// Bad ranges that are kept one by one; of more, their sum.
inline constexpr u32 scrub_ranges_max = 1000;

struct BadRanges {
    std::vector<ByteRange> ranges;  // ascending, none next to another; offsets in the image
    u64 bytes = 0;                  // of all of them, those that were not kept, too
};

struct Scrubbed {
    u64 read_bytes = 0;  // of the range; the rest are holes, which were passed over
    BadRanges unreadable;
    BadRanges different;  // from the other image
};

// Past the page cache where that is possible, so that it is the disk that answers. `other` is read
// at the same distance from `other_offset` as `image` from range.offset; null: nothing is compared,
// and holes are passed over. Both have the range. An error is what prevented reading at all; what
// cannot be read is in the result. Control thread; takes as long as the disk does.
Result<Scrubbed> scrub(const Image& image, ByteRange range, const Image* other, u64 other_offset,
                       const OnProgress& progress);

// Puts a range behind the last one, which it may prolong.
void add_bad(BadRanges& bad, ByteRange range);

}  // namespace ringloop::backing
