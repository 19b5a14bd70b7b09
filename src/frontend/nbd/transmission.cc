#include "frontend/nbd/transmission.h"

#include <algorithm>
#include <cstring>

#include "frontend/nbd/status_question.h"

namespace ringloop::nbd {

namespace wire = abi::nbd;

std::unique_ptr<Transmission> Transmission::create(engine::Shard& shard, engine::Survey& survey,
                                                   const Agreement& agreement,
                                                   const Options& options,
                                                   engine::PassEnd& changed) {
    auto pool = SlotPool::create(shard.device().buffers(), options.depth, options.large_slots,
                                 options.cgroup);
    if (!pool) return nullptr;
    return std::unique_ptr<Transmission>(
        new Transmission(shard, survey, agreement, options, changed, std::move(pool)));
}

Transmission::Transmission(engine::Shard& shard, engine::Survey& survey, const Agreement& agreement,
                           const Options& options, engine::PassEnd& changed,
                           std::unique_ptr<SlotPool> pool)
    : shard_(shard),
      survey_(survey),
      agreement_(agreement),
      changed_(changed),
      encoder_(agreement.style),
      slots_reserved_(options.depth + options.large_slots),
      decoder_(agreement),
      pool_(std::move(pool)),
      question_(agreement.block_status ? std::make_unique<StatusQuestion>() : nullptr) {
    ASSERT(options.large_slots >= whole_read_pieces_max);
    shard_.reserve(slots_reserved_);
}

Transmission::~Transmission() {
    ASSERT(idle());
    shard_.unreserve(slots_reserved_);
}

std::size_t Transmission::consume(Bytes input) {
    std::size_t consumed = 0;
    stalled_ = false;
    while (end_ == End::none && !rests()) {
        const bool ready = decoder_.payload_left() > 0 ? payload_target() : pool_->has_small();
        if (!ready) {
            stalled_ = true;
            break;
        }
        Bytes rest = input.subspan(consumed);
        if (rest.empty()) break;
        const std::span<std::byte> room = payload_room();
        if (!room.empty()) rest = rest.first(std::min(rest.size(), room.size()));
        const RequestDecoder::Progress progress = decoder_.consume(rest);
        consumed += progress.consumed;
        switch (progress.event) {
            case RequestDecoder::Event::need_input: break;
            case RequestDecoder::Event::command: command_on_input(); break;
            case RequestDecoder::Event::refused: refusal_on_input(); break;
            case RequestDecoder::Event::payload:
                std::memcpy(room.data(), rest.data(), progress.consumed);
                payload_advance(static_cast<u32>(progress.consumed));
                break;
            case RequestDecoder::Event::disconnect: finish(End::disconnect, "disconnected"); break;
            case RequestDecoder::Event::close: finish(End::broken, decoder_.reason()); break;
        }
    }
    return consumed;
}

// Paused where another server could go on: not in a payload of which a part has failed already, and
// not in a long one whose reply has to name the offset of the whole.
bool Transmission::rests() const {
    if (!paused_ || !decoder_.can_hand_over()) return false;
    if (!receiving_) return true;
    return receiving_->error == Errno::ok &&
           (receiving_->started_bytes == 0 || agreement_.style != ReplyStyle::extended);
}

bool Transmission::settled() const {
    const u32 receiving = receiving_ ? 1 : 0;
    const u32 filling = target_ && target_ != receiving_ ? 1 : 0;
    return end_ == End::none && rests() && pool_->busy() == receiving + filling;
}

// What was written of a long payload is not written again; whoever hands over has synced it, so
// that a write with FUA is durable with the rest.
void Transmission::hand_over(std::vector<std::byte>& input) const {
    ASSERT(settled());
    decoder_.hand_over(receiving_ ? receiving_->started_bytes : 0, input);
    if (!target_) return;
    input.insert(input.end(), target_->buffer, target_->buffer + target_->filled_bytes);
}

void Transmission::command_on_input() {
    Slot& slot = *pool_->take_small();
    slot.transmission = this;
    slot.command = decoder_.command();
    slot.range = slot.command.range;
    if (slot.command.payload_bytes > 0) {
        write_start(slot);
    } else if (shutting_down_) {
        reply_error(slot, Errno::shutdown);
    } else {
        command_start(slot);
    }
}

void Transmission::command_start(Slot& slot) {
    slot.fua = slot.command.fua;
    switch (slot.command.type) {
        case CommandType::read: slot.fua = false; return read_start(slot);
        case CommandType::flush: slot.fua = false; return request_start(slot, engine::Op::flush);
        case CommandType::trim: return request_start(slot, engine::Op::discard);
        case CommandType::cache: slot.fua = false; return request_start(slot, engine::Op::prefetch);
        case CommandType::write_zeroes:
            slot.no_unmap = slot.command.no_hole;
            slot.fast_zero = slot.command.fast_zero;
            return request_start(slot, engine::Op::write_zeroes);
        case CommandType::block_status: statuses_.push(slot); return status_start();
        case CommandType::write:
        case CommandType::disconnect:
        case CommandType::unknown: break;
    }
    ASSERT(!"a command that the decoder lets pass");
}

void Transmission::refusal_on_input() {
    Slot& slot = *pool_->take_small();
    slot.transmission = this;
    slot.command = decoder_.command();
    reply_refusal(slot, decoder_.refusal().error, decoder_.refusal().message);
}

void Transmission::request_start(Slot& slot, engine::Op op) {
    slot.op = op;
    slot.done = request_on_engine;
    shard_.submit(slot);
}

void Transmission::request_on_engine(engine::Request& request) {
    auto& slot = static_cast<Slot&>(request);
    Transmission& self = *slot.transmission;
    const CommandType type = slot.command.type;
    // A hint that the image cannot take is taken all the same: "the server MAY do nothing".
    const bool hint = type == CommandType::trim || type == CommandType::cache;
    if (self.abandoned_) {
        self.release(slot);
    } else if (slot.result != Errno::ok && !(hint && slot.result == Errno::not_supported)) {
        self.reply_error(slot, slot.result);
    } else if (type == CommandType::read) {
        self.compose_data(slot, true);
        self.queue(slot);
    } else {
        self.reply_success(slot);
    }
}

// ---- Writes: the payload is received into slots, and written as soon as one is full. ----

void Transmission::write_start(Slot& lead) {
    receiving_ = &lead;
    target_ = nullptr;
    // Its payload has to be taken from the wire in any case.
    if (shutting_down_) lead.error = Errno::shutdown;
}

// Makes sure that there is somewhere to put the next byte of the payload.
bool Transmission::payload_target() {
    Slot& lead = *receiving_;
    if (target_ || lead.error == Errno::shutdown) return true;
    if (lead.command.payload_bytes <= small_slot_bytes) {
        target_ = &lead;
        return true;
    }
    target_ = pool_->take_large();
    if (!target_) return false;
    const u64 left = lead.command.range.length - lead.started_bytes;
    target_->transmission = this;
    target_->lead = &lead;
    target_->range = {lead.command.range.offset + lead.started_bytes,
                      std::min<u64>(left, piece_bytes_max)};
    return true;
}

std::span<std::byte> Transmission::payload_room() {
    const u32 left = decoder_.payload_left();
    if (left == 0) return {};
    // A refused payload goes through one small buffer again and again.
    if (receiving_->error == Errno::shutdown) {
        return {receiving_->buffer, std::min(left, small_slot_bytes)};
    }
    if (!target_) return {};
    return {target_->buffer + target_->filled_bytes, target_->range.length - target_->filled_bytes};
}

bool Transmission::payload_room_is_all() const {
    return target_ && target_->range.length - target_->filled_bytes == decoder_.payload_left();
}

void Transmission::payload_received(u32 bytes) {
    decoder_.payload_received(bytes);
    payload_advance(bytes);
}

void Transmission::payload_advance(u32 bytes) {
    Slot& lead = *receiving_;
    if (lead.error == Errno::shutdown) {
        if (decoder_.payload_left() > 0) return;
        receiving_ = nullptr;
        reply_error(lead, Errno::shutdown);
        return;
    }
    Slot& slot = *target_;
    slot.filled_bytes += bytes;
    if (slot.filled_bytes < slot.range.length) return;
    target_ = nullptr;
    if (decoder_.payload_left() == 0) receiving_ = nullptr;
    if (&slot == &lead) {
        lead.fua = lead.command.fua;
        request_start(lead, engine::Op::write);
        return;
    }
    lead.started_bytes += slot.range.length;
    ++lead.pieces;
    slot.op = engine::Op::write;
    slot.done = written_on_engine;
    shard_.submit(slot);
}

void Transmission::written_on_engine(engine::Request& request) {
    auto& piece = static_cast<Slot&>(request);
    Slot& lead = *piece.lead;
    Transmission& self = *piece.transmission;
    if (lead.error == Errno::ok) lead.error = piece.result;
    --lead.pieces;
    self.release(piece);
    self.write_continue(lead);
}

// All of it was written: then it is made durable at once, if it has to be.
void Transmission::write_continue(Slot& lead) {
    if (lead.pieces > 0 || receiving_ == &lead) return;
    const bool complete = lead.started_bytes == lead.command.range.length;
    if (abandoned_ || !complete) {
        release(lead);
    } else if (lead.error != Errno::ok) {
        reply_error(lead, lead.error);
    } else if (lead.command.fua) {
        request_start(lead, engine::Op::flush);
    } else {
        reply_success(lead);
    }
}

// ---- What leaves. ----

Slot* Transmission::outgoing() {
    if (wire_owner_) return std::exchange(owner_out_, nullptr);
    if (Slot* slot = small_out_.pop()) return slot;
    Slot* slot = long_out_.pop();
    if (slot && slot->lead != slot && slot->lead->mode == ReadMode::ordered) {
        wire_owner_ = slot->lead;
    }
    return slot;
}

void Transmission::sent(Slot& slot) {
    if (slot.lead != &slot) {
        piece_sent(*slot.lead, slot);
        return;
    }
    while (Slot* piece = slot.collected) {
        slot.collected = std::exchange(piece->link, nullptr);
        release(*piece);
    }
    release(slot);
}

void Transmission::queue(Slot& slot) {
    changed();
    if (wire_owner_ && slot.lead == wire_owner_) {
        owner_out_ = &slot;
        return;
    }
    // All replies to a long read in one list: its last chunk must not overtake the others.
    const Command& command = slot.lead->command;
    const bool is_long =
        command.type == CommandType::read && command.range.length > small_slot_bytes;
    (is_long ? long_out_ : small_out_).push(slot);
}

void Transmission::release(Slot& slot) {
    const bool large = slot.bytes_max > small_slot_bytes;
    pool_->give_back(slot);
    if (large && !abandoned_) waiting_start();
    changed();
}

void Transmission::finish(End end, std::string_view reason) {
    end_ = end;
    reason_ = reason;
    hung_up();
    changed();
}

// A client that comes again sends what was not answered again, and then what it writes next. A
// write of this connection that waits for room (engine/held.h) must not land on top of that.
void Transmission::hung_up() {
    pool_->make_impatient();
    shard_.answer_impatient();
}

void Transmission::input_end() {
    if (end_ == End::none) finish(End::disconnect, "the client is gone");
    Slot* lead = std::exchange(receiving_, nullptr);
    if (!lead) return;
    if (target_ && target_ != lead) release(*target_);
    target_ = nullptr;
    // Without the rest there is nothing to answer.
    if (lead->pieces == 0) release(*lead);
}

void Transmission::abandon() {
    if (std::exchange(abandoned_, true)) return;
    input_end();
    wire_owner_ = nullptr;
    if (owner_out_) sent(*std::exchange(owner_out_, nullptr));
    while (Slot* slot = small_out_.pop()) sent(*slot);
    while (Slot* slot = long_out_.pop()) sent(*slot);
    while (Slot* lead = waiting_.pop()) release(*lead);
    // The first one is with the survey, and comes back.
    Slot* asked = statuses_.pop();
    while (Slot* slot = statuses_.pop()) release(*slot);
    if (asked) statuses_.push(*asked);
}

}  // namespace ringloop::nbd
