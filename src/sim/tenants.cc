#include "sim/tenants.h"

#include <algorithm>
#include <cerrno>
#include <utility>

#include "base/assert.h"

namespace ringloop::sim {

using cgroup::Letter;
using cgroup::Note;

namespace {

// Eventfds of the simulation have numbers that no file has.
constexpr int shard_events = -2000;
constexpr int lane_events = -3000;
constexpr u32 lane_kernels = 100;  // their numbers begin here
constexpr u64 turn_ns_max = 5'000;

// An eventfd that somebody reads and somebody else's kernel signals.
class EventCounter final : public Endpoint {
public:
    void start(Kernel& kernel, io::Completion& completion) override {
        ASSERT(!waiting_);
        kernel_ = &kernel;
        waiting_ = &completion;
        answer();
    }
    bool cancel(Kernel& kernel, io::Completion& completion) override {
        if (waiting_ != &completion) return false;
        waiting_ = nullptr;
        kernel.complete(completion, -ECANCELED);
        return true;
    }
    void signal() {
        ++count_;
        answer();
    }
    void forget() {
        waiting_ = nullptr;
        count_ = 0;
    }

private:
    void answer() {
        if (!waiting_ || count_ == 0) return;
        count_ = 0;
        kernel_->complete(*std::exchange(waiting_, nullptr), sizeof count_);
    }

    Kernel* kernel_ = nullptr;
    io::Completion* waiting_ = nullptr;
    u64 count_ = 0;
};

}  // namespace

// What the shard has for lanes, and whether its last turn was one that it would have slept in.
class SimTenants::Watch final : public engine::Tenants {
public:
    Watch(const Seat& seat, u32 index, cgroup::Switchboard& board, cgroup::Mailbox& mailbox,
          u64 own)
        : seat_(seat),
          doorbell_(board.shard(index)),
          lanes_(*seat.shard, board, index, mailbox, cgroup::Charge{.fixed = 0, .own = {own, 0}}) {
        seat.shard->serve(*this);
    }

    engine::Lane* lane_of(u64 cgroup) override { return lanes_.lane_of(cgroup); }
    bool about_to_wait() override {
        const bool may_wait = lanes_.about_to_wait();
        idle_ = may_wait && !seat_.kernel->busy();
        return may_wait;
    }
    void collect() override { lanes_.collect(); }
    void settle() override { lanes_.settle(); }

    // Nothing came in with the last turn, and nobody has rung since: the loop sleeps.
    bool falls_asleep() { return idle_ && !seat_.kernel->busy() && doorbell_.doze(); }
    cgroup::ShardLanes& lanes() { return lanes_; }

private:
    const Seat& seat_;
    cgroup::Doorbell& doorbell_;
    cgroup::ShardLanes lanes_;
    bool idle_ = false;
};

struct SimTenants::Lane {
    // live: has a process. retiring: the same, and shards were asked whether they need it. ending:
    // killed, because they do not. dying: killed. losing: shards were told.
    enum class State : u8 { vacant, live, retiring, ending, dying, losing };
    // What a shard has of it.
    struct Part {
        cgroup::Seat* seat = nullptr;
        Note release;
        Note lost;
    };
    struct Moment : Event {
        Lane* lane = nullptr;
    };

    SimTenants* tenants = nullptr;
    u32 number = 0;
    State state = State::vacant;
    u64 cgroup = 0;
    u32 replies = 0;  // of shards, that are to come
    std::vector<Part> parts;
    EventCounter event;
    std::unique_ptr<Kernel> kernel;
    backing::Handle handle;
    std::unique_ptr<cgroup::LaneProcess> process;
    Moment turn;
    Moment look;
    Moment end;

    bool scheduled() const { return turn.scheduled || look.scheduled || end.scheduled; }
};

SimTenants::SimTenants(Machine& machine, Server& server, const Options& options)
    : machine_(machine), server_(server), options_(options) {
    ASSERT(options_.lanes > 0 && options_.lanes <= cgroup::lanes_max);
    const auto seats = static_cast<u32>(server_.seats.size());
    auto made = cgroup::Switchboard::create(seats);
    ASSERT(made.has_value());
    board_ = std::move(*made);
    keeper_.tenants = this;
    keeper_.happen = keeper_on_time;
    for (u32 number = 0; number < options_.lanes; ++number) {
        lanes_.push_back(std::make_unique<Lane>());
        Lane& lane = *lanes_.back();
        lane.tenants = this;
        lane.number = number;
        lane.parts = std::vector<Lane::Part>(seats);
        for (Lane::Moment* moment : {&lane.turn, &lane.look, &lane.end}) moment->lane = &lane;
        lane.turn.happen = lane_turns;
        lane.look.happen = lane_is_looked_at;
        lane.end.happen = lane_has_ended;
    }
    for (u32 index = 0; index < seats; ++index) {
        const Seat& seat = server_.seats[index];
        events_.push_back(shard_events - static_cast<int>(index));
        watches_.push_back(std::make_unique<Watch>(seat, index, *board_, mailbox_, options_.own));
        for (const auto& lane : lanes_) {
            seat.kernel->on_signal(lane_events - static_cast<int>(lane->number),
                                   [event = &lane->event] { event->signal(); });
        }
    }
}

// Seats that were sent and not read are nobody else's.
SimTenants::~SimTenants() {
    ASSERT(ended());
    read_mail();
    for (Letter* letter : letters_) {
        if (letter->kind == Letter::Kind::released || letter->kind == Letter::Kind::gone) {
            delete letter->seat;
        }
    }
}

u64 SimTenants::delay(u64 max_ns) { return machine_.prng.skewed(1, max_ns); }

// ---- Turns of the shards' loops ----

bool SimTenants::turned(u32 seat) {
    read_mail();
    if (!letters_.empty() && state_ != State::quiescing && !keeper_.scheduled) {
        machine_.timeline.after(delay(options_.delay_ns_max), keeper_);
    }
    return !watches_[seat]->falls_asleep();
}

void SimTenants::read_mail() {
    for (Letter* letter = mailbox_.take(); letter;) {
        letters_.push_back(letter);
        letter = std::exchange(letter->next, nullptr);
    }
}

void SimTenants::post(u32 seat, engine::Message& message) {
    server_.seats[seat].shard->post(message);
    server_.seats[seat].kernel->nudge();
}

// ---- The keeper ----

void SimTenants::keeper_on_time(Event& event) {
    SimTenants& self = *static_cast<Keeper&>(event).tenants;
    if (self.state_ == State::quiescing) return;
    while (!self.letters_.empty()) {
        Letter& letter = *self.letters_.front();
        self.letters_.pop_front();
        self.handle(letter);
    }
}

void SimTenants::handle(Letter& letter) {
    if (letter.kind == Letter::Kind::want) return want(letter);
    Lane& lane = *lanes_[letter.lane];
    // No lane of ours writes nonsense.
    ASSERT(letter.kind != Letter::Kind::broken);
    const bool lost = letter.kind == Letter::Kind::gone;
    if (letter.seat) {
        Lane::Part& part = lane.parts[letter.shard];
        ASSERT(part.seat == letter.seat);
        delete std::exchange(part.seat, nullptr);
    }
    // A lane may have ended while it was being retired: then only the shards that lost it count.
    if (lost != (lane.state == Lane::State::losing)) return;
    if (!lost && lane.state != Lane::State::retiring) return;
    if (--lane.replies > 0) return;
    lost ? vacate(lane) : retired(lane);
}

void SimTenants::want(Letter& letter) {
    if (state_ == State::killed) return refuse(letter);
    Prng& prng = machine_.prng;
    Lane* lane = lane_of(letter.seat->cgroup);
    if (lane && lane->state == Lane::State::live) return open(letter, *lane);
    if (prng.chance(machine_.faults.lanes_refused)) return refuse(letter);
    if (!lane) {
        lane = vacant_lane();
        if (lane) {
            start(*lane, letter.seat->cgroup);
            return open(letter, *lane);
        }
        const bool one_is_ending = std::ranges::any_of(
            lanes_, [](const auto& other) { return other->state != Lane::State::live; });
        if (!one_is_ending) {
            if (prng.below(2) == 0) return refuse(letter);
            retire(*lanes_[prng.below(lanes_.size())]);
        }
    }
    parked_.push_back(&letter);
}

void SimTenants::refuse(Letter& letter) {
    ++refused_;
    cgroup::Answer& answer = letter.seat->answer;
    answer.refused_for_ns = delay(options_.refused_ns_max);
    answer.run = [](engine::Message& message, engine::Shard&) {
        auto& refusal = static_cast<cgroup::Answer&>(message);
        refusal.to->refused(refusal);
    };
    post(letter.shard, answer);
}

void SimTenants::open(Letter& letter, Lane& lane) {
    cgroup::Seat& seat = *letter.seat;
    Lane::Part& part = lane.parts[letter.shard];
    ASSERT(part.seat == nullptr);
    part.seat = &seat;
    for (Note* note : {&part.release, &part.lost}) {
        note->to = &watches_[letter.shard]->lanes();
        note->serial = seat.serial;
        note->lane = lane.number;
    }
    part.release.run = [](engine::Message& note, engine::Shard&) {
        static_cast<Note&>(note).to->release(static_cast<Note&>(note));
    };
    part.lost.run = [](engine::Message& note, engine::Shard&) {
        static_cast<Note&>(note).to->lost(static_cast<Note&>(note));
    };
    seat.answer.lane = lane.number;
    seat.answer.event = lane_events - static_cast<int>(lane.number);
    seat.answer.run = [](engine::Message& message, engine::Shard&) {
        auto& answer = static_cast<cgroup::Answer&>(message);
        answer.to->opened(answer);
    };
    post(letter.shard, seat.answer);
}

void SimTenants::ask_again() {
    std::deque<Letter*> again;
    std::swap(again, parked_);
    for (Letter* letter : again) want(*letter);
}

// ---- Lanes ----

SimTenants::Lane* SimTenants::lane_of(u64 cgroup) {
    const auto found = std::ranges::find_if(lanes_, [&](const auto& lane) {
        return lane->state != Lane::State::vacant && lane->cgroup == cgroup;
    });
    return found == lanes_.end() ? nullptr : found->get();
}

SimTenants::Lane* SimTenants::vacant_lane() {
    const u64 first = machine_.prng.below(lanes_.size());
    for (u64 i = 0; i < lanes_.size(); ++i) {
        Lane& lane = *lanes_[(first + i) % lanes_.size()];
        if (lane.state == Lane::State::vacant) return &lane;
    }
    return nullptr;
}

void SimTenants::start(Lane& lane, u64 cgroup) {
    ++opened_;
    machine_.trace.add({.at_ns = machine_.timeline.now_ns(),
                        .what = What::lane_opened,
                        .number = lane.number,
                        .value = static_cast<i64>(cgroup)});
    server_.device->lanes().fetch_add(1, std::memory_order_relaxed);
    lane.state = Lane::State::live;
    lane.cgroup = cgroup;
    lane.kernel =
        std::make_unique<Kernel>(machine_, lane_kernels + lane.number, lane_wants_turn, &lane);
    const int own_event = lane_events - static_cast<int>(lane.number);
    lane.kernel->attach(own_event, lane.event);
    for (u32 index = 0; index < server_.seats.size(); ++index) {
        // Any turn of the shard finds out who has rung.
        lane.kernel->on_signal(events_[index],
                               [kernel = server_.seats[index].kernel] { kernel->nudge(); });
    }
    const backing::Handle& handle = server_.seats[0].shard->handle();
    lane.handle.direct = handle.direct;
    lane.handle.buffered = handle.buffered;
    lane.process = std::make_unique<cgroup::LaneProcess>(*lane.kernel, lane.handle, *board_,
                                                         lane.number, events_, own_event);
    if (!lane.look.scheduled) machine_.timeline.after(delay(options_.look_ns_max), lane.look);
}

void SimTenants::lane_wants_turn(void* context) {
    Lane& lane = *static_cast<Lane*>(context);
    SimTenants& self = *lane.tenants;
    if (lane.turn.scheduled) return;
    self.machine_.timeline.after(self.machine_.prng.below(turn_ns_max), lane.turn);
}

// A pass never sleeps here. One that was asked for by nobody is the one that would: then the lane
// is put to sleep, unless somebody has rung.
void SimTenants::lane_turns(Event& event) {
    Lane& lane = *static_cast<Lane::Moment&>(event).lane;
    if (!lane.process) return;
    cgroup::Doorbell& doorbell = lane.tenants->board_->lane(lane.number);
    const bool silent = doorbell.doze();
    const bool idle = silent && !lane.kernel->busy();
    lane.process->pass(0);
    if (idle && !lane.kernel->busy() && doorbell.doze()) return;
    lane_wants_turn(&lane);
}

// As by SIGKILL: what it had given to its kernel has happened, or not, or in part.
void SimTenants::end_process(Lane& lane) {
    lane.kernel->kill();
    lane.process.reset();
    lane.event.forget();
    graves_.push_back(std::move(lane.kernel));
    std::erase_if(graves_, [](const auto& kernel) { return kernel->quiet(); });
    machine_.timeline.after(delay(options_.delay_ns_max), lane.end);
}

void SimTenants::lane_is_looked_at(Event& event) {
    Lane& lane = *static_cast<Lane::Moment&>(event).lane;
    lane.tenants->look(lane);
}

void SimTenants::look(Lane& lane) {
    if (state_ != State::serving || !lane.process) return;
    Prng& prng = machine_.prng;
    if (prng.chance(machine_.faults.lanes_killed)) {
        ++killed_lanes_;
        machine_.trace.add({.at_ns = machine_.timeline.now_ns(),
                            .what = What::lane_killed,
                            .number = lane.number});
        lane.state = Lane::State::dying;
        return end_process(lane);
    }
    if (lane.state == Lane::State::live && prng.chance(options_.release)) retire(lane);
    if (!lane.look.scheduled) machine_.timeline.after(delay(options_.look_ns_max), lane.look);
}

// Asks every shard that has a seat there to let go of it.
void SimTenants::retire(Lane& lane) {
    ASSERT(lane.state == Lane::State::live);
    lane.state = Lane::State::retiring;
    lane.replies = 0;
    for (u32 index = 0; index < lane.parts.size(); ++index) {
        if (!lane.parts[index].seat) continue;
        ++lane.replies;
        post(index, lane.parts[index].release);
    }
    if (lane.replies == 0) retired(lane);
}

void SimTenants::retired(Lane& lane) {
    const bool kept = std::ranges::any_of(lane.parts, [](const auto& part) { return part.seat; });
    if (kept) {
        lane.state = Lane::State::live;
        return ask_again();
    }
    ++released_;
    lane.state = Lane::State::ending;
    end_process(lane);
}

void SimTenants::lane_has_ended(Event& event) {
    Lane& lane = *static_cast<Lane::Moment&>(event).lane;
    SimTenants& self = *lane.tenants;
    if (self.state_ == State::quiescing) return;
    if (lane.state == Lane::State::dying) return self.lose(lane);
    if (lane.state == Lane::State::ending) self.vacate(lane);
}

void SimTenants::lose(Lane& lane) {
    lane.state = Lane::State::losing;
    lane.replies = 0;
    for (u32 index = 0; index < lane.parts.size(); ++index) {
        if (!lane.parts[index].seat) continue;
        ++lane.replies;
        post(index, lane.parts[index].lost);
    }
    if (lane.replies == 0) vacate(lane);
}

void SimTenants::vacate(Lane& lane) {
    board_->reset(lane.number);
    server_.device->lanes().fetch_sub(1, std::memory_order_relaxed);
    lane.state = Lane::State::vacant;
    lane.cgroup = 0;
    ask_again();
}

// ---- The end ----

void SimTenants::quiesce() {
    ASSERT(state_ == State::serving);
    state_ = State::quiescing;
    parked_.clear();
    for (const auto& lane : lanes_) {
        if (lane->process) end_process(*lane);
    }
}

void SimTenants::killed() {
    if (state_ == State::quiescing) return;
    state_ = State::killed;
    for (const auto& lane : lanes_) {
        if (!lane->process) continue;
        lane->state = Lane::State::dying;
        end_process(*lane);
    }
    ask_again();
}

bool SimTenants::ended() const {
    if (state_ == State::serving || keeper_.scheduled) return false;
    if (std::ranges::any_of(lanes_, [](const auto& lane) { return lane->scheduled(); })) {
        return false;
    }
    if (std::ranges::any_of(graves_, [](const auto& kernel) { return !kernel->quiet(); })) {
        return false;
    }
    if (state_ == State::quiescing) return true;
    return letters_.empty() && parked_.empty() && std::ranges::all_of(lanes_, [](const auto& lane) {
               return lane->state == Lane::State::vacant;
           });
}

}  // namespace ringloop::sim
