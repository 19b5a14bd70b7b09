// Bounded waiting on the control path.
#pragma once

#include "base/int.h"

namespace ringloop::control {

// CLOCK_MONOTONIC.
u64 now_ms();
u64 now_ns();

// A moment that a wait may not pass.
class Deadline {
public:
    explicit Deadline(u64 timeout_ms) : at_ms_(now_ms() + timeout_ms) {}
    bool passed() const { return left_ms() == 0; }
    u64 left_ms() const {
        const u64 now = now_ms();
        return now >= at_ms_ ? 0 : at_ms_ - now;
    }
    // For poll(2).
    int poll_timeout_ms() const;

private:
    u64 at_ms_;
};

// For conditions of which the system sends no event: asks again after 1 ms, then less and less
// often down to every 50 ms. Create one for each wait.
class Backoff {
public:
    void pause(const Deadline& deadline);

private:
    u64 pause_ms_ = 1;
};

// Whether `condition` came true in time.
template <typename Condition>
bool wait_until(const Deadline& deadline, Condition&& condition) {
    for (Backoff backoff;; backoff.pause(deadline)) {
        if (condition()) return true;
        if (deadline.passed()) return false;
    }
}

}  // namespace ringloop::control
