// A Kernel that does nothing by itself: a test looks at what was submitted and decides what becomes
// of it, in any order and with any result. The simulator grows from here.
#pragma once

#include <deque>
#include <vector>

#include "base/assert.h"
#include "io/kernel.h"

namespace ringloop::sim {

class ScriptedKernel final : public io::Kernel {
public:
    // Submitted and not completed yet, oldest first.
    std::deque<io::Completion*> pending;
    u64 submitted_count = 0;
    u64 pass_count = 0;
    u64 clock_ns = 1'000'000;
    u32 workers_limit = 0;
    std::vector<i32> signals;  // eventfds, in the order of their signals

    // Takes the pending operation `index` out with `result`, delivered by the next run_once.
    void complete(std::size_t index, i32 result) {
        ASSERT(index < pending.size());
        io::Completion* completion = pending[index];
        pending.erase(pending.begin() + static_cast<std::ptrdiff_t>(index));
        completion->result = result;
        ready_.push(*completion);
    }
    void complete_first(i32 result) { complete(0, result); }

    void submit(io::Completion& completion) override {
        ++submitted_count;
        pending.push_back(&completion);
    }
    void run_once(u64) override {
        ++pass_count;
        clock_ns += 1000;
        io::CompletionList ready = ready_.take();
        while (io::Completion* completion = ready.pop()) completion->done(*completion);
    }
    u64 now_ns() const override { return clock_ns; }
    u64 syscalls() const override { return pass_count; }
    Status limit_workers(u32 workers) override {
        workers_limit = workers;
        return {};
    }
    void signal(i32 eventfd) override { signals.push_back(eventfd); }
    Result<io::FileRef> register_file(i32 fd) override { return io::FileRef{fd, false}; }
    void unregister_file(io::FileRef) override {}
    Status register_buffers(std::span<const iovec> buffers) override {
        buffers_.assign(buffers.begin(), buffers.end());
        return {};
    }

private:
    io::CompletionList ready_;
    std::vector<iovec> buffers_;
};

}  // namespace ringloop::sim
