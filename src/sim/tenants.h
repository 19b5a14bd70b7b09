// The lanes of other cgroups in one life of a simulated server: the shards' side is the real one,
// each lane is a real LaneProcess on a kernel of its own, and the keeper's part is played here. It
// opens lanes late, refuses some, and ends them when they are idle or whenever it likes.
#pragma once

#include <deque>
#include <memory>
#include <vector>

#include "cgroup/lane_process.h"
#include "cgroup/shard_lanes.h"
#include "sim/port.h"

namespace ringloop::sim {

class SimTenants {
public:
    struct Options {
        u32 lanes = 4;                // at one time; the first so many of lanes_max
        u32 release = 0;              // a lane that is looked at is asked for; in a million
        u64 delay_ns_max = 100'000;   // of whatever the keeper does; at least 1
        u64 look_ns_max = 1'000'000;  // from one look at a lane to the next; at least 1
        u64 refused_ns_max = 2'000'000;
        u64 own = 1;  // the server's own cgroup, which has no lane
    };

    // Before the shards' loops begin; `server` and `machine` outlive it. Destroyed after the loops
    // have ended and before the shards are.
    SimTenants(Machine& machine, Server& server, const Options& options);
    ~SimTenants();

    // After each turn of a shard's loop. True: it is to be turned again, although its kernel does
    // not ask for it. A turn never sleeps; this puts the loop to sleep, which is when others have
    // to wake it, or finds that it must not sleep.
    bool turned(u32 seat);

    // The orderly end, with no request in flight: lanes end as they stand, and shards hear of
    // nothing any more.
    void quiesce();
    // The server was killed, its kernels are dead. Its lanes die with it; what they had comes back
    // to the shards, whose requests then fail.
    void killed();
    // After either: nothing of this is on the timeline any more.
    bool ended() const;

    u64 opened() const { return opened_; }    // lanes, ever
    u64 refused() const { return refused_; }  // wants
    u64 killed_lanes() const { return killed_lanes_; }
    u64 released() const { return released_; }  // lanes that nobody needed

private:
    struct Lane;
    class Watch;
    struct Keeper : Event {
        SimTenants* tenants = nullptr;
    };
    enum class State : u8 { serving, quiescing, killed };

    u64 delay(u64 max_ns);
    void read_mail();
    static void keeper_on_time(Event& event);
    void handle(cgroup::Letter& letter);
    void want(cgroup::Letter& letter);
    void refuse(cgroup::Letter& letter);
    void open(cgroup::Letter& letter, Lane& lane);
    void ask_again();
    void post(u32 seat, engine::Message& message);

    Lane* lane_of(u64 cgroup);
    Lane* vacant_lane();
    void start(Lane& lane, u64 cgroup);
    void end_process(Lane& lane);
    void look(Lane& lane);
    void retire(Lane& lane);
    void retired(Lane& lane);
    void lose(Lane& lane);
    void vacate(Lane& lane);
    static void lane_wants_turn(void* context);
    static void lane_turns(Event& event);
    static void lane_is_looked_at(Event& event);
    static void lane_has_ended(Event& event);

    Machine& machine_;
    Server& server_;
    const Options options_;
    State state_ = State::serving;
    std::unique_ptr<cgroup::Switchboard> board_;
    cgroup::Mailbox mailbox_{UniqueFd()};
    std::vector<int> events_;                      // of the shards, as lanes name them
    std::vector<std::unique_ptr<Watch>> watches_;  // by seat
    std::vector<std::unique_ptr<Lane>> lanes_;     // by number
    std::vector<std::unique_ptr<Kernel>> graves_;  // of lanes that were killed
    std::deque<cgroup::Letter*> letters_;          // not read yet
    std::deque<cgroup::Letter*> parked_;           // wants that wait for a lane to end
    Keeper keeper_;
    u64 opened_ = 0;
    u64 refused_ = 0;
    u64 killed_lanes_ = 0;
    u64 released_ = 0;
};

}  // namespace ringloop::sim
