#include "control/wait.h"

#include <poll.h>
#include <time.h>

#include <algorithm>
#include <limits>

namespace ringloop::control {

constexpr u64 pause_max_ms = 50;

u64 now_ms() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<u64>(now.tv_sec) * 1000 + static_cast<u64>(now.tv_nsec) / 1'000'000;
}

u64 now_ns() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<u64>(now.tv_sec) * 1'000'000'000 + static_cast<u64>(now.tv_nsec);
}

int Deadline::poll_timeout_ms() const {
    return static_cast<int>(std::min<u64>(left_ms(), std::numeric_limits<int>::max()));
}

void Backoff::pause(const Deadline& deadline) {
    ::poll(nullptr, 0, static_cast<int>(std::min(pause_ms_, deadline.left_ms())));
    pause_ms_ = std::min(pause_ms_ * 2, pause_max_ms);
}

}  // namespace ringloop::control
