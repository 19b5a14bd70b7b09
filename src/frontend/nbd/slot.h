// Where one request of a connection lives, from its header to the end of its reply.
//
// There are small slots, one for each command in flight, and a few large ones. A command that fits
// a small slot's buffer is carried out there. A longer one keeps its small slot as its lead and is
// carried out in pieces, each in a large slot: so a connection has a fixed amount of memory
// whatever its client asks for, and other commands go on beside a long one.
#pragma once

#include <sys/uio.h>

#include <array>
#include <memory>

#include "engine/buffers.h"
#include "engine/request.h"
#include "engine/survey.h"
#include "frontend/nbd/limits.h"
#include "frontend/nbd/reply.h"

namespace ringloop::nbd {

class Transmission;

// How the data of a read reaches the client.
enum class ReadMode : u8 {
    whole,    // one piece of reply, sent once all of it was read: an error leaves no half a reply
    chunked,  // each piece its own chunk, in any order
    ordered,  // one piece behind the other, the wire is theirs meanwhile
};

// A part of a reply in a slot: a head, and data of the buffer behind it.
struct Fragment {
    u16 head_begin = 0;
    u16 head_bytes = 0;
    u32 data_begin = 0;
    u32 data_bytes = 0;
};
// More changes between data and zeroes in one piece are told as data.
inline constexpr u32 fragments_max = 6;

struct Slot : engine::Request {
    Transmission* transmission = nullptr;
    u32 bytes_max = 0;  // of its buffer

    // The command, in its lead.
    Command command;
    ReadMode mode = ReadMode::whole;
    Errno error = Errno::ok;  // of the first piece that failed
    u64 error_offset = 0;
    u64 started_bytes = 0;      // of the command's range, given to pieces
    u32 pieces = 0;             // with the engine
    u32 pieces_sending = 0;     // read, and on their way to the client
    u32 pieces_wanted = 0;      // large slots that it needs to begin
    Slot* collected = nullptr;  // pieces of a whole read, by `link`, in the order of their ranges

    // A piece, and a lead without pieces, which is its own.
    Slot* lead = nullptr;
    u32 filled_bytes = 0;  // of a payload that is being received

    // The reply.
    u32 fragment_count = 0;
    std::array<Fragment, fragments_max> fragments{};
    std::array<std::byte, reply_head_bytes_max> head;

    Slot* link = nullptr;  // on one list of the transmission: free, waiting, collected, to be sent
};

using SlotList = Fifo<Slot, &Slot::link>;

// The slots of one connection and their buffers. One thread.
class SlotPool {
public:
    // nullptr when there is no room left in `buffers`, which outlives it. `cgroup` is that of all
    // requests.
    static std::unique_ptr<SlotPool> create(engine::Buffers& buffers, u32 small_count,
                                            u32 large_count, u64 cgroup);
    static u64 buffer_bytes(u32 small_count, u32 large_count) {
        return u64{small_count} * small_slot_bytes + u64{large_count} * piece_bytes_max;
    }

    Slot* take_small() { return take(small_free_); }
    Slot* take_large() {
        Slot* slot = take(large_free_);
        if (slot) --large_free_count_;
        return slot;
    }
    void give_back(Slot& slot);

    // None of their requests is kept waiting for room from now on.
    void make_impatient();

    bool has_small() const { return !small_free_.empty(); }
    u32 large_free() const { return large_free_count_; }
    u32 busy() const { return busy_; }

private:
    SlotPool(u32 small_count, u32 large_count);
    Slot* take(SlotList& list);

    std::unique_ptr<Slot[]> slots_;
    u32 count_;
    engine::BufferPiece buffers_;
    SlotList small_free_;
    SlotList large_free_;
    u32 large_free_count_ = 0;
    u32 busy_ = 0;
};

}  // namespace ringloop::nbd
