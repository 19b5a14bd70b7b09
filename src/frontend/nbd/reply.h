// Replies of the transmission phase, without I/O. doc/proto.md of the NBD project, sections "Simple
// reply message", "Structured reply types" and "Error values".
//
// Heads are put into an OutputBuffer; the data of a read travels behind its head from wherever it
// lies. Each function says in `room` terms what it needs: reply_head_bytes_max is enough for all
// but block_status. What a caller could get wrong here is our own mistake and asserted.
#pragma once

#include <span>
#include <string_view>

#include "abi/nbd.h"
#include "base/errno.h"
#include "frontend/nbd/bytes.h"
#include "frontend/nbd/transmit.h"

namespace ringloop::nbd {

// The one place where an error is narrowed to what a client may be told.
abi::nbd::Error errno_on_wire(Errno error);

// The same for the answer to this command: enotsup only for a fast zero, because a client that did
// not ask for one is promised not to see it ("Error values").
abi::nbd::Error error_for(const Command& command, Errno error);

// An extent of a device as its backing knows it.
struct Extent {
    u64 length = 0;
    u32 flags = 0;  // abi::nbd::state_hole, state_zero; 0 is true of any bytes

    constexpr bool operator==(const Extent&) const = default;
};

class ReplyEncoder {
public:
    enum class More : u8 { no, yes };  // chunks of the same reply to come

    explicit constexpr ReplyEncoder(ReplyStyle style) : style_(style) {}

    // Success: of a command without data; or, in chunks, the end of a read.
    void success(const Command& command, OutputBuffer& output) const;

    // The command failed as a whole. The text, if any, is cut at message_bytes_max; a simple reply
    // has none. After chunks of More::yes it ends the reply.
    void error(const Command& command, abi::nbd::Error error, std::string_view message,
               OutputBuffer& output) const;
    // In chunks: what was read before `offset`, which lies within the command's range, is good.
    void error_at(const Command& command, abi::nbd::Error error, u64 offset,
                  std::string_view message, OutputBuffer& output) const;

    // The head of the data of `range`, which follows: range.length bytes. A simple reply carries
    // the whole range of the command at once. A client that wants no fragments gets one such chunk.
    void data(const Command& command, ByteRange range, More more, OutputBuffer& output) const;
    // In chunks: these bytes are zeroes, and do not travel.
    void hole(const Command& command, ByteRange range, More more, OutputBuffer& output) const;

    // The whole answer to a block status, in chunks; needs block_status_bytes(extents.size()).
    // `extents` is what an ExtentFitter made: not empty.
    void block_status(const Command& command, std::span<const Extent> extents,
                      OutputBuffer& output) const;
    std::size_t block_status_bytes(std::size_t extents) const;

private:
    void put_chunk(const Command& command, u16 type, More more, u64 length,
                   OutputBuffer& output) const;

    ReplyStyle style_;
};

}  // namespace ringloop::nbd
