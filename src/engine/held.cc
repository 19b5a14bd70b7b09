#include "engine/held.h"

#include <utility>

#include "base/assert.h"

namespace ringloop::engine {

Held::Held(io::Kernel& kernel, void (*on_time)(void*), void* context)
    : kernel_(kernel), on_time_(on_time), context_(context) {
    clock_.held = cancel_.held = this;
    clock_.operation = {.code = io::Operation::Code::timeout, .payload = {held_retry_s, 0}};
    cancel_.operation = {.code = io::Operation::Code::cancel, .target = &clock_};
}

void Held::add(Request& request) {
    requests_.push(request);
    if (!clock_.busy) submit(clock_, clock_on_kernel);
}

RequestList Held::take_impatient() {
    RequestList impatient;
    RequestList all = requests_.take();
    while (Request* request = all.pop()) {
        (request->impatient ? impatient : requests_).push(*request);
    }
    return impatient;
}

void Held::end() {
    if (clock_.busy && !std::exchange(ended_, true)) submit(cancel_, cancel_on_kernel);
}

void Held::submit(Step& step, void (*done)(io::Completion&)) {
    ASSERT(!step.busy);
    step.busy = true;
    step.done = done;
    kernel_.submit(step);
}

void Held::clock_on_kernel(io::Completion& completion) {
    auto& step = static_cast<Step&>(completion);
    step.busy = false;
    step.held->on_time_(step.held->context_);
}

void Held::cancel_on_kernel(io::Completion& completion) {
    static_cast<Step&>(completion).busy = false;
}

}  // namespace ringloop::engine
