// SIGINT, SIGTERM and (unless it is ignored) SIGHUP as something to poll instead of something that
// interrupts.
#pragma once

#include "base/result.h"
#include "base/unique_fd.h"

namespace ringloop::control {

class Signals {
public:
    // Blocks the signals, so before the first thread; threads and their workers inherit it.
    static Result<Signals> block();

    // Readable once one of the signals arrived.
    int fd() const { return fd_.get(); }
    // The signal that arrived, or 0. Does not wait; stays true once it was.
    int arrived();

private:
    explicit Signals(UniqueFd fd) : fd_(std::move(fd)) {}

    UniqueFd fd_;
    int arrived_ = 0;
};

}  // namespace ringloop::control
