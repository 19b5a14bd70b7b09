// How another thread tells the control thread that there is something to look at.
#pragma once

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

// A descriptor that is readable when either is, as long as both are open.
Result<UniqueFd> watch_either(int first, int second);
// Then a third one with them.
Status watch_too(int watched, int fd);

}  // namespace ringloop::control
