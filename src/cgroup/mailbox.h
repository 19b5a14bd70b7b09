// What shards tell the keeper of the lanes (keeper.h), and its answers.
//
//   shard                                 keeper
//   wants a lane for a cgroup        ->   makes one, or finds the one that another shard has
//                                    <-   opened, or refused for a while
//                                    <-   release: nobody seems to need it
//   released, or kept                ->
//                                    <-   lost: the lane has ended
//   gone: nothing of it is left here ->
//   broken: it wrote nonsense        ->   kills it; lost follows
//
// Every message is answered once, and lies in what it is about: nothing is allocated to send one.
#pragma once

#include <unistd.h>

#include <atomic>

#include "base/assert.h"
#include "base/unique_fd.h"
#include "cgroup/lane_link.h"
#include "engine/lane.h"
#include "engine/shard.h"

namespace ringloop::cgroup {

class ShardLanes;
struct Seat;

struct Letter {
    enum class Kind : u8 { want, broken, released, kept, gone };
    Kind kind = Kind::want;
    u32 shard = 0;
    u32 lane = 0;          // not of a want
    Seat* seat = nullptr;  // want, released, gone: the sender does not touch it until the answer
    Letter* next = nullptr;
};

// Of the keeper to one shard; `reply` comes back.
struct Note : engine::Message {
    ShardLanes* to = nullptr;
    u64 serial = 0;  // of the seat that it is about
    u32 lane = 0;
    Letter reply;
};

// The answer to a want.
struct Answer : engine::Message {
    ShardLanes* to = nullptr;
    Seat* seat = nullptr;
    u32 lane = 0;
    int event = -1;          // of the lane; lives as long as it
    u64 refused_for_ns = 0;  // of a refusal
};

// One shard's side of one lane. Made by the shard; the keeper's once it was released or is gone.
struct Seat {
    Seat(u64 cgroup_id, u64 serial_number, engine::Shard& shard)
        : cgroup(cgroup_id),
          serial(serial_number),
          link(shard.handle()),
          lane(link, shard.device(), shard.counters(), stats, blocking_writes) {}

    enum class State : u8 { asking, open, lost, refused };

    const u64 cgroup;
    const u64 serial;  // of this shard's seats, never used again
    State state = State::asking;
    u32 number = 0;            // of the lane, when open or lost
    int event = -1;            // of the lane
    u64 refused_until = 0;     // clock of the shard's kernel
    Note* farewell = nullptr;  // lost: to be answered when nothing is left
    bool complained = false;
    engine::LaneStats stats;
    std::atomic<u32> blocking_writes = 0;
    LaneLink link;
    engine::Lane lane;
    Letter want;
    Letter complaint;
    Answer answer;
};

// From many threads to one. `event` wakes it.
class Mailbox {
public:
    explicit Mailbox(UniqueFd event) : event_(std::move(event)) {}

    int event() const { return event_.get(); }

    // Any thread. One system call, for it is rare.
    void post(Letter& letter) {
        Letter* head = letters_.load(std::memory_order_relaxed);
        do {
            letter.next = head;
        } while (!letters_.compare_exchange_weak(head, &letter, std::memory_order_release,
                                                 std::memory_order_relaxed));
        wake();
    }
    void wake() {
        const u64 one = 1;
        // Fails only when 2^64-1 wakeups are pending, and then the keeper is awake anyway.
        [[maybe_unused]] const ssize_t written = ::write(event_.get(), &one, sizeof one);
    }

    // The keeper's thread: the oldest of what was posted, linked by `next`.
    Letter* take() {
        Letter* newest = letters_.exchange(nullptr, std::memory_order_acquire);
        Letter* oldest = nullptr;
        while (newest) {
            Letter* letter = std::exchange(newest, newest->next);
            letter->next = oldest;
            oldest = letter;
        }
        return oldest;
    }

private:
    UniqueFd event_;
    std::atomic<Letter*> letters_ = nullptr;
};

}  // namespace ringloop::cgroup
