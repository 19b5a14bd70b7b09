// How another thread tells the control thread that there is something to look at.
#pragma once

#include <span>

#include "base/result.h"
#include "base/unique_fd.h"

namespace ringloop::control {

class Attention {
public:
    static Result<Attention> create();

    // Readable from raise() to clear().
    int fd() const { return fd_.get(); }
    void raise() const;  // any thread; does not block
    void clear() const;  // control thread, before it looks

private:
    explicit Attention(UniqueFd fd) : fd_(std::move(fd)) {}

    UniqueFd fd_;
};

// A descriptor that is readable when any of them is, as long as all are open.
Result<UniqueFd> watch_any(std::span<const int> fds);

}  // namespace ringloop::control
