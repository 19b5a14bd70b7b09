// The transmission phase of one connection: requests come in as bytes, become requests of the
// engine, and leave as replies to be sent. No socket here.
//
//   consume -> command_on_input -+-> request_start -> request_on_engine -> reply
//                                +-> read_start -> piece_start -> piece_on_engine -> reply
//                                +-> write_start -> payload_advance -> written_on_engine -> reply
//                                +-> status_start -> status_on_survey -> reply
//   outgoing() -> the connection sends -> sent -> the slot is free, or takes the next piece
//
// One thread, the shard's.
#pragma once

#include <memory>
#include <string_view>
#include <vector>

#include "engine/shard.h"
#include "engine/survey.h"
#include "frontend/nbd/slot.h"
#include "frontend/nbd/transmit.h"

namespace ringloop::nbd {

class Transmission {
public:
    struct Options {
        u32 depth = depth_default;
        u32 large_slots = in_flight_bytes_default / piece_bytes_max;
        u64 cgroup = 0;  // of the client; 0: not known

        u64 buffer_bytes() const { return SlotPool::buffer_bytes(depth, large_slots); }
    };

    // `changed` is asked for a pass end whenever there may be something to send or room to
    // receive. Everything outlives this object. nullptr: no memory.
    static std::unique_ptr<Transmission> create(engine::Shard& shard, engine::Survey& survey,
                                                const Agreement& agreement, const Options& options,
                                                engine::PassEnd& changed);
    // Idle.
    ~Transmission();

    // Takes requests from the front of `input`; returns how many bytes. Less than all: it waits
    // for slots (stalled), or has ended.
    std::size_t consume(Bytes input);
    // Whether more input is of use now.
    bool wants_input() const { return !stalled_ && end_ == End::none && !rests(); }

    // Where the payload that comes next may be received straight away; empty when none is
    // expected. Behind it come requests again only if payload_room_is_all().
    std::span<std::byte> payload_room();
    bool payload_room_is_all() const;
    void payload_received(u32 bytes);

    // A reply that is to be sent, in the order to send them: small ones first, then long ones.
    // The caller sends all fragments of the slot, and of its collected pieces, then calls sent.
    Slot* outgoing();
    void sent(Slot& slot);

    // Nothing is begun any more that has not begun, and the payload of what has comes in only where
    // another server could not go on with it. Once settled(), nothing is left but what hand_over()
    // adds to `input`: bytes with which a transmission of the same agreement goes on.
    void pause() { paused_ = true; }
    void go_on() { paused_ = false; }
    bool settled() const;
    const Agreement& agreement() const { return agreement_; }
    void hand_over(std::vector<std::byte>& input) const;

    // The client has closed its end, though there may be input from before that. What waits for
    // room does so no longer.
    void hung_up();
    // The client sends no more; a write that is still to come in full never was.
    void input_end();

    // From now on every request is answered with ESHUTDOWN.
    void shutdown_start() { shutting_down_ = true; }

    enum class End : u8 {
        none,
        disconnect,  // the client has said goodbye: finish, send, close
        broken,      // nothing that is sent would be understood: close at once
    };
    End end() const { return end_; }
    std::string_view reason() const { return reason_; }
    // The socket is gone: nothing is to be sent, what waits is dropped. Requests that are with the
    // engine go on; idle() tells when they are done.
    void abandon();
    bool idle() const { return pool_->busy() == 0; }

private:
    struct StatusQuestion;

    Transmission(engine::Shard& shard, engine::Survey& survey, const Agreement& agreement,
                 const Options& options, engine::PassEnd& changed, std::unique_ptr<SlotPool> pool);

    bool rests() const;
    void command_on_input();
    void command_start(Slot& slot);
    void refusal_on_input();
    void request_start(Slot& slot, engine::Op op);
    static void request_on_engine(engine::Request& request);

    void write_start(Slot& lead);
    bool payload_target();
    void payload_advance(u32 bytes);
    static void written_on_engine(engine::Request& request);
    void write_continue(Slot& lead);

    void read_start(Slot& lead);
    bool pieces_start(Slot& lead);
    void waiting_start();
    void piece_start(Slot& lead, Slot& piece);
    static void piece_on_engine(engine::Request& request);
    void whole_piece_read(Slot& lead);
    void piece_read(Slot& lead, Slot& piece);
    void piece_sent(Slot& lead, Slot& piece);
    void read_continue(Slot& lead);

    void status_start();
    static void status_look(engine::Survey::Question& question, const backing::Backing& backing);
    static void status_on_survey(engine::Message& message, engine::Shard& shard);

    void reply_success(Slot& slot);
    void reply_error(Slot& slot, Errno error);
    void reply_refusal(Slot& slot, abi::nbd::Error error, std::string_view message);
    void compose_data(Slot& slot, bool last);
    void reply(Slot& slot, const OutputBuffer& head);
    void queue(Slot& slot);
    void release(Slot& slot);
    void finish(End end, std::string_view reason);
    void changed() { shard_.at_pass_end(changed_); }

    // Constant after create.
    engine::Shard& shard_;
    engine::Survey& survey_;
    const Agreement agreement_;
    engine::PassEnd& changed_;
    const ReplyEncoder encoder_;
    const u32 slots_reserved_;

    RequestDecoder decoder_;
    std::unique_ptr<SlotPool> pool_;
    Slot* receiving_ = nullptr;  // lead of the write whose payload is coming in
    Slot* target_ = nullptr;     // slot into which it goes now
    SlotList waiting_;           // leads that need large slots
    SlotList small_out_;         // replies
    SlotList long_out_;
    SlotList statuses_;  // block status commands that wait for the one question
    std::unique_ptr<StatusQuestion> question_;
    Slot* wire_owner_ = nullptr;  // lead of an ordered read that has begun to be sent
    Slot* owner_out_ = nullptr;   // its next piece
    bool stalled_ = false;
    bool paused_ = false;
    bool shutting_down_ = false;
    bool abandoned_ = false;
    End end_ = End::none;
    std::string_view reason_;
};

}  // namespace ringloop::nbd
