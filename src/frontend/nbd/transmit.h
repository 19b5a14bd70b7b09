// Requests of the transmission phase: bytes in, commands out, no I/O. doc/proto.md of the NBD
// project, sections "Request message", "Request types" and "Size constraints".
//
//     header -> validate -> [payload of a good write -> the owner]  -> header
//                       `-> [payload of a bad request -> nowhere]   -> header
//
// It stops at any byte and goes on from there; how the input is cut changes only into how many
// parts a payload falls. What a client gets wrong is answered with an error and the connection
// goes on, as long as it is certain where the next request begins; otherwise it ends.
#pragma once

#include <string_view>
#include <vector>

#include "abi/nbd.h"
#include "base/range.h"
#include "frontend/nbd/agreement.h"
#include "frontend/nbd/bytes.h"

namespace ringloop::nbd {

enum class CommandType : u8 {
    unknown,  // only of a refused command
    read,
    write,
    disconnect,
    flush,
    trim,
    cache,
    write_zeroes,
    block_status
};

// One request, as it came. Its range is within the device and aligned when it was not refused.
struct Command {
    CommandType type = CommandType::unknown;
    bool fua = false;            // to be obeyed where something is written, ignored elsewhere
    bool no_hole = false;        // write_zeroes: the blocks stay allocated
    bool dont_fragment = false;  // read: at most one chunk of content
    bool req_one = false;        // block_status: one extent, not longer than the range
    bool fast_zero = false;      // write_zeroes: not_supported unless faster than writing zeroes
    u64 cookie = 0;              // the client's; goes back in each reply
    u64 wire_offset = 0;         // as it came; goes back in each extended reply
    ByteRange range{};           // empty for a flush
    u32 payload_bytes = 0;       // write: what follows the header, range.length bytes
};

// Why a command is not carried out. The text is constant and for people.
struct Refusal {
    abi::nbd::Error error = abi::nbd::Error::none;
    std::string_view message;

    explicit operator bool() const { return error != abi::nbd::Error::none; }
};

// A request's fields as they came, of either kind of header.
struct RequestFields {
    u16 flags = 0;
    u16 type = 0;
    u64 cookie = 0;
    u64 offset = 0;
    u64 length = 0;
};

// The request as a command, not judged yet. Its length is taken for that of the effect.
Command command_from(const RequestFields& fields);

// Whether the client may ask for this here, by its flags and its range. No error: `command` is good
// to be carried out. In this order, so that of several mistakes the first is told:
//   a command that is not known: einval
//   any change of a read-only export: eperm
//   a command that was not offered, a flag that does not belong to it: einval
//   nothing to do (length 0), a flush with a position: einval
//   read or write longer than the maximum: einval; eoverflow with dont_fragment
//   past the end: enospc for write and write_zeroes, einval for the others
//   not a multiple of the smallest block: einval
Refusal validate(const Agreement& agreement, const RequestFields& fields, const Command& command);

class RequestDecoder {
public:
    enum class Event : u8 {
        need_input,  // all input was consumed
        command,     // command() is to be carried out; if it has a payload, that comes next
        payload,     // the consumed bytes are the next part of the payload of command()
        refused,     // command() is to be answered with refusal(); nothing else came of it
        disconnect,  // NBD_CMD_DISC: finish what is in flight, answer it, close; no reply to this
        close,       // close without a reply to anything; reason() says why, for the log
    };
    struct Progress {
        std::size_t consumed = 0;  // bytes from the front of `input`
        Event event = Event::need_input;
    };

    explicit RequestDecoder(const Agreement& agreement);

    // One event a call; call again with the rest of the input until need_input. After disconnect
    // and close, nothing is consumed and the event stays.
    Progress consume(Bytes input);

    // Of the payload of command(), what has not come yet. An owner that receives it straight into
    // its buffer, instead of by Event::payload, reports each part here.
    u32 payload_left() const { return state_ == State::payload ? left_ : 0; }
    void payload_received(u32 bytes);

    // For a decoder of the same agreement that goes on from here, in another process maybe: the
    // bytes with which it has to begin. Of a payload that is coming in they are the header of a
    // request for what is not `done` yet, bytes from its front; whoever has bytes of the rest of
    // the payload adds them. Only when can_hand_over(), and where replies name the offset of their
    // request (ReplyStyle::extended) with nothing done. Allocates.
    bool can_hand_over() const {
        return state_ == State::header || state_ == State::query || state_ == State::payload;
    }
    void hand_over(u64 done, std::vector<std::byte>& bytes) const;

    // Valid until the next call of consume() that returns Event::command or refused.
    const Command& command() const { return command_; }
    const Refusal& refusal() const { return refusal_; }
    // One constant line; empty before Event::close.
    std::string_view reason() const { return reason_; }

private:
    enum class State : u8 {
        header,
        query,  // the payload of a block status
        drain,  // the payload of a refused command
        refused,
        accepted,
        payload,  // of a write
        disconnected,
        closed
    };

    std::size_t header_bytes() const;
    void header_on_input();
    RequestFields fields_on_input() const;
    void put_header(u64 done, std::vector<std::byte>& bytes) const;
    void payload_start(u64 payload);
    void query_on_input();
    void judge();
    void close(std::string_view reason);

    // Constant after construction.
    const Agreement agreement_;

    State state_ = State::header;
    u32 left_ = 0;  // bytes of a payload still to come
    RequestFields fields_;
    Command command_;
    Refusal refusal_;
    std::string_view reason_;
    Gather<sizeof(abi::nbd::ExtendedRequest)> bytes_;
};

}  // namespace ringloop::nbd
