// How far long work has come, for a person who waits at a terminal.
#pragma once

#include <chrono>
#include <string>
#include <string_view>

#include "base/int.h"

namespace ringloop::cli {

// "verify: 42 %, 1.7 GiB of 4.0 GiB, 1.2 GiB/s, 2 s left". Nothing is said about what cannot be
// known yet: the rate in the first moment.
std::string progress_text(std::string_view work, u64 done_bytes, u64 total_bytes, double elapsed_s);

// One line of the standard error, where that is a terminal, drawn anew five times a second at the
// most and taken away at the end, so that nothing of it is left between results and messages.
class Progress {
public:
    Progress(std::string work, u64 total_bytes);
    ~Progress() { clear(); }
    Progress(const Progress&) = delete;
    Progress& operator=(const Progress&) = delete;

    void advance(u64 done_bytes);
    // Before something else is printed.
    void clear();

private:
    using Clock = std::chrono::steady_clock;

    std::string work_;
    u64 total_bytes_;
    bool on_terminal_;
    bool drawn_ = false;
    Clock::time_point started_;
    Clock::time_point drawn_at_;
};

}  // namespace ringloop::cli
