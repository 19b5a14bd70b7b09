// Blocks for every byte of a device before there is one, so that no write of it can find its
// filesystem full.
#pragma once

#include <functional>

#include "backing/image.h"
#include "base/range.h"

namespace ringloop::backing {

struct Preallocated {
    u64 new_bytes = 0;  // by how much what the file occupies has grown, if nobody else has it
};

// Called now and then with the bytes of the range that are done.
using OnProgress = std::function<void(u64 bytes)>;

// Content and size stay as they are. The range lies within the image, which is open for writing.
// A block device has its blocks (where it is a thin one, nobody can tell): nothing is done. Nothing
// is allocated either where the filesystem has less room than is certainly needed; if it gets full
// in the middle, what was allocated stays. Control thread; takes as long as the filesystem does.
Result<Preallocated> preallocate(const Image& image, ByteRange range, const OnProgress& progress);

}  // namespace ringloop::backing
