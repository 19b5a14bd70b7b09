// Reads, in pieces where they are long, block status, and what the replies look like.
#include <algorithm>
#include <cstring>

#include "frontend/nbd/extents.h"
#include "frontend/nbd/status_question.h"
#include "frontend/nbd/transmission.h"

namespace ringloop::nbd {

namespace wire = abi::nbd;

namespace {

constexpr u64 zero_unit_bytes = 4096;

// A unit of data rarely begins and ends with zeroes, so its bytes are rarely all looked at.
bool is_zero(const std::byte* data, u64 bytes) {
    if (data[0] != std::byte{0} || data[bytes - 1] != std::byte{0}) return false;
    return std::memcmp(data, data + 1, bytes - 1) == 0;
}

// How many bytes from the front of `data` are of one kind, and of which.
struct Run {
    u32 bytes = 0;
    bool zero = false;
};

Run first_run(const std::byte* data, u32 bytes) {
    Run run;
    while (run.bytes < bytes) {
        const auto unit = static_cast<u32>(std::min<u64>(zero_unit_bytes, bytes - run.bytes));
        // Less than a unit is not worth a chunk of its own.
        const bool zero = unit == zero_unit_bytes && is_zero(data + run.bytes, unit);
        if (run.bytes > 0 && zero != run.zero) break;
        run.zero = zero;
        run.bytes += unit;
    }
    return run;
}

}  // namespace

void Transmission::read_start(Slot& lead) {
    const u64 length = lead.command.range.length;
    if (length <= small_slot_bytes) {
        lead.mode = ReadMode::whole;
        return request_start(lead, engine::Op::read);
    }
    const u64 pieces = align_up(length, piece_bytes_max) / piece_bytes_max;
    const bool in_one = agreement_.style == ReplyStyle::simple || lead.command.dont_fragment;
    lead.mode = !in_one                           ? ReadMode::chunked
                : pieces <= whole_read_pieces_max ? ReadMode::whole
                                                  : ReadMode::ordered;
    if (lead.mode == ReadMode::ordered && lead.command.dont_fragment) {
        return reply_refusal(lead, wire::Error::eoverflow, "too long to be read in one fragment");
    }
    lead.pieces_wanted = lead.mode == ReadMode::whole ? static_cast<u32>(pieces) : 1;
    // Behind those that wait already, so that nobody is overtaken for ever.
    if (!waiting_.empty() || !pieces_start(lead)) waiting_.push(lead);
}

bool Transmission::pieces_start(Slot& lead) {
    if (pool_->large_free() < lead.pieces_wanted) return false;
    const bool alone = lead.mode == ReadMode::ordered;
    const u32 count = lead.mode == ReadMode::whole ? lead.pieces_wanted
                      : alone                      ? 1
                                                   : pieces_per_command_max;
    for (u32 i = 0; i < count && lead.started_bytes < lead.command.range.length; ++i) {
        Slot* piece = pool_->take_large();
        if (!piece) break;
        piece_start(lead, *piece);
    }
    return true;
}

void Transmission::waiting_start() {
    while (Slot* lead = waiting_.front()) {
        if (!pieces_start(*lead)) return;
        static_cast<void>(waiting_.pop());
    }
}

void Transmission::piece_start(Slot& lead, Slot& piece) {
    const ByteRange& whole = lead.command.range;
    piece.transmission = this;
    piece.lead = &lead;
    piece.fragment_count = 0;
    piece.range = {whole.offset + lead.started_bytes,
                   std::min<u64>(whole.length - lead.started_bytes, piece_bytes_max)};
    lead.started_bytes += piece.range.length;
    ++lead.pieces;
    if (lead.mode == ReadMode::whole) {
        Slot** end = &lead.collected;
        while (*end) end = &(*end)->link;
        *end = &piece;
    }
    piece.op = engine::Op::read;
    piece.done = piece_on_engine;
    shard_.submit(piece);
}

void Transmission::piece_on_engine(engine::Request& request) {
    auto& piece = static_cast<Slot&>(request);
    Slot& lead = *piece.lead;
    Transmission& self = *piece.transmission;
    --lead.pieces;
    if (piece.result != Errno::ok && lead.error == Errno::ok) {
        lead.error = piece.result;
        lead.error_offset = piece.range.offset;
    }
    if (lead.mode == ReadMode::whole) {
        self.whole_piece_read(lead);
    } else {
        self.piece_read(lead, piece);
    }
}

void Transmission::whole_piece_read(Slot& lead) {
    if (lead.pieces > 0) return;
    if (abandoned_) return sent(lead);
    if (lead.error == Errno::ok) {
        compose_data(lead, true);
        return queue(lead);
    }
    while (Slot* piece = lead.collected) {
        lead.collected = std::exchange(piece->link, nullptr);
        release(*piece);
    }
    reply_error(lead, lead.error);
}

void Transmission::piece_read(Slot& lead, Slot& piece) {
    if (abandoned_ || lead.error != Errno::ok) {
        release(piece);
        return read_continue(lead);
    }
    const bool last = lead.pieces == 0 && lead.started_bytes == lead.command.range.length;
    compose_data(piece, last);
    ++lead.pieces_sending;
    queue(piece);
}

// Its slot goes on with the rest of the same read, unless others wait and this read has more.
void Transmission::piece_sent(Slot& lead, Slot& piece) {
    --lead.pieces_sending;
    const bool more = lead.started_bytes < lead.command.range.length;
    const bool share = !waiting_.empty() && lead.pieces + lead.pieces_sending > 0;
    if (more && lead.error == Errno::ok && !abandoned_ && !share) return piece_start(lead, piece);
    release(piece);
    read_continue(lead);
}

// The end of a read in pieces, once nothing of it is under way.
void Transmission::read_continue(Slot& lead) {
    if (lead.pieces > 0 || lead.pieces_sending > 0) return;
    const bool owner = wire_owner_ == &lead;
    if (owner) wire_owner_ = nullptr;
    if (abandoned_ || lead.error == Errno::ok) return release(lead);
    if (owner) {
        // The client counts on the rest of the data: there is no other way to tell it.
        release(lead);
        return finish(End::broken, "a read failed behind the head of its reply");
    }
    reply_error(lead, lead.error);
}

// ---- Block status: the filesystem is asked on a thread of its own, one question at a time. ----

void Transmission::status_start() {
    StatusQuestion& question = *question_;
    if (question.asked || statuses_.empty()) return;
    question.transmission = this;
    question.command = statuses_.front()->command;
    question.asked = true;
    question.shard = &shard_;
    question.look = status_look;
    question.run = status_on_survey;
    survey_.ask(question);
}

void Transmission::status_look(engine::Survey::Question& asked, const backing::Backing& backing) {
    auto& question = static_cast<StatusQuestion&>(asked);
    ExtentFitter fitter(question.transmission->agreement_, question.command, question.extents);
    while (fitter.wants_more()) {
        const u64 offset = question.command.range.offset + fitter.covered_bytes();
        const backing::Backing::Extent found = backing.extent_at(offset);
        fitter.add({.length = found.length,
                    .flags = found.hole ? wire::state_hole | wire::state_zero : 0});
    }
    question.answer = fitter.finish();
}

void Transmission::status_on_survey(engine::Message& message, engine::Shard&) {
    auto& question = static_cast<StatusQuestion&>(static_cast<engine::Survey::Question&>(message));
    Transmission& self = *question.transmission;
    question.asked = false;
    Slot& slot = *self.statuses_.pop();
    if (self.abandoned_) return self.release(slot);
    OutputBuffer output({slot.buffer, slot.bytes_max});
    self.encoder_.block_status(slot.command, question.answer, output);
    slot.fragments[0] = {.data_bytes = static_cast<u32>(output.pending().size())};
    slot.fragment_count = 1;
    self.queue(slot);
    self.status_start();
}

// ---- Replies ----

void Transmission::reply_success(Slot& slot) {
    OutputBuffer head(slot.head);
    encoder_.success(slot.command, head);
    reply(slot, head);
}

void Transmission::reply_error(Slot& slot, Errno error) {
    OutputBuffer head(slot.head);
    const wire::Error number = error_for(slot.command, error);
    if (slot.started_bytes > 0 && slot.mode == ReadMode::chunked &&
        slot.command.type == CommandType::read) {
        encoder_.error_at(slot.command, number, slot.error_offset, describe(error), head);
    } else {
        encoder_.error(slot.command, number, describe(error), head);
    }
    reply(slot, head);
}

void Transmission::reply_refusal(Slot& slot, wire::Error error, std::string_view message) {
    OutputBuffer head(slot.head);
    encoder_.error(slot.command, error, message, head);
    reply(slot, head);
}

// A head without data is all of the reply.
void Transmission::reply(Slot& slot, const OutputBuffer& head) {
    slot.fragments[0] = {.head_bytes = static_cast<u16>(head.pending().size())};
    slot.fragment_count = 1;
    queue(slot);
}

// The heads of what was read. In chunks, runs of zeroes do not travel.
void Transmission::compose_data(Slot& slot, bool last) {
    const Command& command = slot.lead->command;
    OutputBuffer head(slot.head);
    const bool in_one = agreement_.style == ReplyStyle::simple || command.dont_fragment;
    if (in_one) {
        const bool first = slot.range.offset == command.range.offset;
        if (first) encoder_.data(command, command.range, ReplyEncoder::More::no, head);
        slot.fragments[0] = {
            .head_bytes = static_cast<u16>(head.pending().size()),
            .data_bytes = slot.collected ? 0 : static_cast<u32>(slot.range.length)};
        slot.fragment_count = 1;
        return;
    }
    u32 done = 0;
    const auto length = static_cast<u32>(slot.range.length);
    while (done < length) {
        Run run = first_run(slot.buffer + done, length - done);
        if (slot.fragment_count + 1 == fragments_max && run.bytes < length - done) {
            run = {length - done, false};
        }
        const auto more =
            last && done + run.bytes == length ? ReplyEncoder::More::no : ReplyEncoder::More::yes;
        const ByteRange range = {slot.range.offset + done, run.bytes};
        const auto begin = static_cast<u16>(head.pending().size());
        if (run.zero) {
            encoder_.hole(command, range, more, head);
        } else {
            encoder_.data(command, range, more, head);
        }
        const auto head_bytes = static_cast<u16>(head.pending().size() - begin);
        slot.fragments[slot.fragment_count++] = {begin, head_bytes, done, run.zero ? 0 : run.bytes};
        done += run.bytes;
    }
}

}  // namespace ringloop::nbd
