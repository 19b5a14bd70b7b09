// What server and client agreed on in the handshake: all that the transmission phase knows of it.
#pragma once

#include <cstddef>

#include "base/int.h"
#include "frontend/nbd/limits.h"

namespace ringloop::nbd {

// Which headers travel: 16 bytes of reply that the client can read only with its requests at hand;
// chunks; or chunks and 64-bit lengths in both directions. A client gets exactly one of them.
enum class ReplyStyle : u8 { simple, structured, extended };

// The id under which a client knows base:allocation, the only metadata context there is.
inline constexpr u32 allocation_context_id = 1;

struct Agreement {
    std::size_t export_index = 0;
    ReplyStyle style = ReplyStyle::simple;
    u16 flags = 0;  // transmission flags as the client was told them
    u64 size_bytes = 0;
    // What requests have to be multiples of. 1 for a client that did not ask for block sizes: it
    // cannot know of a larger one, and all its requests have to work ("Size constraints").
    u32 block_bytes_min = 1;
    u32 payload_bytes_max = request_bytes_max;  // at most request_bytes_max
    bool block_status = false;                  // the client selected base:allocation
};

}  // namespace ringloop::nbd
