// Virtual time: what happens next, and nothing happens in between. Events of one instant happen in
// the order in which they were asked for, so a run is one sequence.
#pragma once

#include <queue>
#include <vector>

#include "base/assert.h"
#include "base/int.h"

namespace ringloop::sim {

// Owned by whoever schedules it; stays in place until it has happened. Scheduled once at a time.
struct Event {
    void (*happen)(Event&) = nullptr;
    bool scheduled = false;
};

class Timeline {
public:
    u64 now_ns() const { return now_ns_; }

    void after(u64 delay_ns, Event& event) {
        ASSERT(!event.scheduled && event.happen != nullptr);
        event.scheduled = true;
        queue_.push({now_ns_ + delay_ns, serial_++, &event});
    }

    // False when nothing is left to happen.
    bool step() {
        if (queue_.empty()) return false;
        const Entry next = queue_.top();
        queue_.pop();
        now_ns_ = next.at_ns;
        next.event->scheduled = false;
        next.event->happen(*next.event);
        return true;
    }
    bool empty() const { return queue_.empty(); }
    u64 steps() const { return serial_; }

private:
    struct Entry {
        u64 at_ns;
        u64 serial;
        Event* event;
        bool operator<(const Entry& other) const {  // the earliest is on top
            return at_ns != other.at_ns ? at_ns > other.at_ns : serial > other.serial;
        }
    };

    std::priority_queue<Entry> queue_;
    u64 now_ns_ = 1'000'000;
    u64 serial_ = 0;
};

}  // namespace ringloop::sim
