// One request of a client, in a slot that its frontend owns and reuses.
//
// The frontend fills the first part, calls Shard::submit, and leaves the slot alone until `done`
// was called, exactly once, from the shard's loop. The engine knows bytes and ranges only.
#pragma once

#include "base/errno.h"
#include "base/list.h"
#include "base/range.h"

namespace ringloop::engine {

enum class Op : u8 { read, write, flush, discard, write_zeroes, prefetch };
inline constexpr u32 op_count = 6;
const char* name_of(Op op);

struct Request {
    // Filled by the frontend.
    Op op = Op::read;
    bool fua = false;             // write, write_zeroes, discard: durable before it is answered
    bool no_unmap = false;        // write_zeroes: the blocks stay allocated
    bool fast_zero = false;       // write_zeroes: not_supported rather than writing the zeroes
    ByteRange range{};            // bytes of the device; empty for a flush
    std::byte* buffer = nullptr;  // read, write: range.length bytes, the frontend's
    i32 fixed_buffer = -1;        // registered buffer that contains all of `buffer`, or -1
    u64 cgroup = 0;               // id of the issuing cgroup; 0: not known
    bool impatient = false;       // is answered even where others wait for room (held.h)
    void (*done)(Request&) = nullptr;

    // The answer. After anything but ok, nothing is promised about the range (reads: the buffer).
    Errno result = Errno::ok;

    // The engine's, for as long as the slot keeps its buffer: bytes that have memory (Buffers).
    u64 buffer_touched = 0;

    // The engine's, while it is in flight.
    bool active = false;
    bool held = false;  // has found no room, and is counted among those that wait for it
    u64 started_ns = 0;
    Request* next = nullptr;
};

using RequestList = Fifo<Request, &Request::next>;

}  // namespace ringloop::engine
