// Requests that found no room on the image's filesystem and wait for it (OnError::pause), and the
// clock by which they are tried again. One thread, the shard's; nothing here allocates.
//
// None of them is in flight: none was acknowledged, so a flush need not cover them, a freeze need
// not wait for them, and each begins anew when it is tried again, whatever its image or lane is by
// then. In whatever order writes that overlap land, their client has not heard of the held one yet,
// and so has no right to expect one.
#pragma once

#include "engine/request.h"
#include "io/kernel.h"

namespace ringloop::engine {

inline constexpr u64 held_retry_s = 1;

class Held {
public:
    // `on_time` is called from the loop when it is time to try again.
    Held(io::Kernel& kernel, void (*on_time)(void*), void* context);

    // From here on the clock runs.
    void add(Request& request);
    // All of them, the oldest first.
    RequestList take() { return requests_.take(); }
    // Those that nobody may be kept waiting for (Request::impatient).
    RequestList take_impatient();

    bool empty() const { return requests_.empty(); }
    // Stops the clock for good, which takes until idle(). As often as one likes.
    void end();
    bool idle() const { return requests_.empty() && !clock_.busy && !cancel_.busy; }

private:
    struct Step : io::Completion {
        Held* held = nullptr;
        bool busy = false;
    };

    void submit(Step& step, void (*done)(io::Completion&));
    static void clock_on_kernel(io::Completion& completion);
    static void cancel_on_kernel(io::Completion& completion);

    io::Kernel& kernel_;
    void (*const on_time_)(void*);
    void* const context_;
    RequestList requests_;
    Step clock_;
    Step cancel_;
    bool ended_ = false;
};

}  // namespace ringloop::engine
