#include "cgroup/shard_lanes.h"

#include <algorithm>
#include <bit>

#include "base/log.h"

namespace ringloop::cgroup {

ShardLanes::ShardLanes(engine::Shard& shard, Switchboard& board, u32 index, Mailbox& mailbox,
                       const Charge& charge)
    : shard_(shard), board_(board), index_(index), mailbox_(mailbox), charge_(charge) {
    seats_.reserve(seats_max);
}

ShardLanes::~ShardLanes() = default;

engine::Lane* ShardLanes::lane_of(u64 cgroup) {
    if (charge_.fixed != 0) cgroup = charge_.fixed;
    if (cgroup == 0 || cgroup == charge_.own[0] || cgroup == charge_.own[1]) return nullptr;
    Seat* seat = last_ && last_->cgroup == cgroup ? last_ : seat_of(cgroup);
    if (!seat) seat = make_seat(cgroup);
    if (seat && seat->state == Seat::State::refused &&
        shard_.kernel().now_ns() >= seat->refused_until) {
        seat->state = Seat::State::asking;
        seat->link.close();
        ask(*seat);
    }
    last_ = seat;
    if (seat && (seat->state == Seat::State::asking || seat->state == Seat::State::open)) {
        return &seat->lane;
    }
    refusals_.add(1);
    return nullptr;
}

Seat* ShardLanes::seat_of(u64 cgroup) {
    const auto found = std::ranges::find(seats_, cgroup, [](const auto& s) { return s->cgroup; });
    return found == seats_.end() ? nullptr : found->get();
}

Seat* ShardLanes::seat_by_serial(u64 serial) {
    const auto found = std::ranges::find(seats_, serial, [](const auto& s) { return s->serial; });
    return found == seats_.end() ? nullptr : found->get();
}

// The first request of a cgroup: the one time that this path allocates.
Seat* ShardLanes::make_seat(u64 cgroup) {
    crowded_ = seats_.size() == seats_max;
    if (crowded_) return nullptr;
    seats_.push_back(std::make_unique<Seat>(cgroup, ++serial_, shard_));
    Seat& seat = *seats_.back();
    // Never fails: the link only notes it.
    static_cast<void>(seat.lane.settle());
    ask(seat);
    return &seat;
}

void ShardLanes::ask(Seat& seat) {
    seat.answer.to = this;
    seat.answer.seat = &seat;
    seat.want = {.kind = Letter::Kind::want, .shard = index_, .seat = &seat};
    mailbox_.post(seat.want);
}

void ShardLanes::opened(Answer& answer) {
    Seat& seat = *answer.seat;
    ASSERT(seat.state == Seat::State::asking);
    seat.state = Seat::State::open;
    seat.number = answer.lane;
    seat.event = answer.event;
    by_lane_[seat.number] = &seat;
    seat.link.open(board_.channel(seat.number, index_), board_.lane(seat.number), index_);
}

void ShardLanes::refused(Answer& answer) {
    Seat& seat = *answer.seat;
    ASSERT(seat.state == Seat::State::asking);
    seat.state = Seat::State::refused;
    seat.refused_until = shard_.kernel().now_ns() + answer.refused_for_ns;
    seat.link.lose();
}

bool ShardLanes::about_to_wait() {
    bool lost = false;
    for (const auto& seat : seats_) {
        lost |= seat->link.has_lost();
        if (seat->state == Seat::State::open && seat->link.hand_over()) {
            shard_.kernel().signal(seat->event);
        }
    }
    return board_.shard(index_).doze() && !lost;
}

void ShardLanes::collect() {
    u64 rung = board_.shard(index_).take();
    for (; rung != 0; rung &= rung - 1) {
        const auto lane = static_cast<u32>(std::countr_zero(rung));
        Seat* seat = lane < lanes_max ? by_lane_[lane] : nullptr;
        if (!seat) continue;  // it was released after its lane had rung
        seat->link.collect();
        if (seat->link.broken() && !std::exchange(seat->complained, true)) {
            seat->complaint = {.kind = Letter::Kind::broken, .shard = index_, .lane = lane};
            mailbox_.post(seat->complaint);
        }
    }
    // Backwards: a farewell takes its seat out.
    for (std::size_t i = seats_.size(); i-- > 0;) {
        Seat& seat = *seats_[i];
        if (seat.link.has_lost()) seat.link.collect();
        if (seat.farewell && seat.lane.empty() && seat.link.idle()) bid_farewell(seat);
    }
    if (std::exchange(crowded_, false)) forget_refused();
    const u32 lanes = shard_.device().lanes().load(std::memory_order_relaxed);
    if (lanes == lanes_seen_) return;
    lanes_seen_ = lanes;
    if (Status settled = shard_.settle(); !settled) log::warning("{}", settled.error().message);
}

// Of those that were refused some never come again.
void ShardLanes::forget_refused() {
    const u64 now_ns = shard_.kernel().now_ns();
    std::erase_if(seats_, [&](const auto& seat) {
        if (seat->state != Seat::State::refused || seat->refused_until > now_ns) return false;
        if (!seat->lane.empty() || !seat->link.idle()) return false;
        if (last_ == seat.get()) last_ = nullptr;
        return true;
    });
}

void ShardLanes::settle() {
    for (const auto& seat : seats_) static_cast<void>(seat->lane.settle());
}

void ShardLanes::release(Note& note) {
    Seat* seat = seat_by_serial(note.serial);
    // Lost since, or about to be.
    if (!seat || seat->state != Seat::State::open || !seat->lane.empty() || !seat->link.idle()) {
        reply(note, Letter::Kind::kept, nullptr);
        return;
    }
    part(*seat);
    reply(note, Letter::Kind::released, seat);
}

void ShardLanes::lost(Note& note) {
    Seat* seat = seat_by_serial(note.serial);
    if (!seat) {
        reply(note, Letter::Kind::gone, nullptr);
        return;
    }
    ASSERT(seat->state == Seat::State::open);
    seat->state = Seat::State::lost;
    seat->farewell = &note;
    by_lane_[seat->number] = nullptr;
    if (last_ == seat) last_ = nullptr;
    seat->link.lose();
}

void ShardLanes::bid_farewell(Seat& seat) {
    Note& note = *seat.farewell;
    part(seat);
    reply(note, Letter::Kind::gone, &seat);
}

// The seat is no longer ours; whoever it is sent to frees it.
void ShardLanes::part(Seat& seat) {
    ASSERT(seat.lane.empty() && seat.link.idle());
    if (last_ == &seat) last_ = nullptr;
    if (seat.state == Seat::State::open) by_lane_[seat.number] = nullptr;
    const auto found = std::ranges::find(seats_, &seat, [](const auto& s) { return s.get(); });
    ASSERT(found != seats_.end());
    static_cast<void>(found->release());
    seats_.erase(found);
}

void ShardLanes::reply(Note& note, Letter::Kind kind, Seat* seat) {
    note.reply = {.kind = kind, .shard = index_, .lane = note.lane, .seat = seat};
    mailbox_.post(note.reply);
}

}  // namespace ringloop::cgroup
