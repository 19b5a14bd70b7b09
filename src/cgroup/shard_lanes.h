// The lanes of other cgroups as one shard has them: a seat for each cgroup that it has requests of.
// Everything here happens on the shard's thread, in its loop.
#pragma once

#include <array>
#include <memory>
#include <vector>

#include "cgroup/mailbox.h"
#include "engine/tenants.h"

namespace ringloop::cgroup {

// Whose requests go to which lane.
struct Charge {
    u64 fixed = 0;  // the cgroup of all requests, whoever issued them; 0: their issuer's
    std::array<u64, 2> own = {};  // served by the root lane: the server's own cgroup, and the root
};

// Of one shard: cgroups with a lane, and those that wait until the keeper has made room for theirs.
inline constexpr u32 seats_max = 4 * lanes_max;

class ShardLanes final : public engine::Tenants {
public:
    // `shard` is not running yet. `mailbox` and `board` outlive this object; it outlives the loop.
    ShardLanes(engine::Shard& shard, Switchboard& board, u32 index, Mailbox& mailbox,
               const Charge& charge);
    ~ShardLanes() override;

    engine::Lane* lane_of(u64 cgroup) override;
    bool about_to_wait() override;
    void collect() override;
    void settle() override;

    // From the keeper, by Shard::post.
    void opened(Answer& answer);
    void refused(Answer& answer);
    void release(Note& note);
    void lost(Note& note);

    bool empty() const { return seats_.empty(); }

    // Requests of other cgroups that the root lane served, because theirs was refused. Any thread.
    const Counter& refusals() const { return refusals_; }

private:
    Seat* seat_of(u64 cgroup);
    Seat* seat_by_serial(u64 serial);
    Seat* make_seat(u64 cgroup);
    void ask(Seat& seat);
    void forget_refused();
    void part(Seat& seat);
    void bid_farewell(Seat& seat);
    void reply(Note& note, Letter::Kind kind, Seat* seat);

    engine::Shard& shard_;
    Switchboard& board_;
    const u32 index_;
    Mailbox& mailbox_;
    const Charge charge_;
    std::vector<std::unique_ptr<Seat>> seats_;  // at most seats_max
    std::array<Seat*, lanes_max> by_lane_{};    // open ones
    Seat* last_ = nullptr;                      // that was asked for
    u64 serial_ = 0;
    bool crowded_ = false;  // a cgroup found no seat
    u32 lanes_seen_ = 1;    // that share the workers, when they were shared out last
    Counter refusals_;
};

}  // namespace ringloop::cgroup
