// A range of bytes of a device or an image.
#pragma once

#include "base/int.h"

namespace ringloop {

struct ByteRange {
    u64 offset = 0;  // bytes
    u64 length = 0;  // bytes

    constexpr u64 end() const { return offset + length; }
    constexpr bool operator==(const ByteRange&) const = default;

    // True when the range lies within [0, size). Written so that no sum can wrap.
    constexpr bool fits(u64 size) const { return offset <= size && length <= size - offset; }
    constexpr bool overlaps(ByteRange other) const {
        return offset < other.end() && other.offset < end();
    }
};

}  // namespace ringloop
