// A shard's end of a channel: to the engine an executor like any other. Before the lane is there,
// operations wait here; once it is lost they come back as lane_lost, each exactly once, and the
// engine takes them to the root lane. So no other part of a shard knows of a lane's beginning or
// end. One thread, the shard's.
#pragma once

#include <array>

#include "backing/backing.h"
#include "cgroup/switchboard.h"
#include "engine/tenants.h"
#include "io/kernel.h"

namespace ringloop::cgroup {

class LaneLink final : public io::Executor {
public:
    // `handle`: the shard's, in terms of which the engine's operations name the image's files.
    explicit LaneLink(const backing::Handle& handle);

    void submit(io::Completion& completion) override;
    // Never fails; the lane follows with its next pass.
    Status limit_workers(u32 workers) override;

    // The lane is there. What has waited goes with the next hand_over.
    void open(Channel& channel, Doorbell& lane, u32 shard);

    // After lose, and idle: as at the beginning.
    void close();

    // Publishes what was submitted. True: the lane sleeps, and this caller is to wake it.
    bool hand_over();

    // Calls `done` of what the lane has completed, and of what was lost.
    void collect();

    // The lane has gone with all that it had given to the kernel, or will never come. What it
    // completed before counts.
    void lose();

    // Nothing waits, and nothing is in flight.
    bool idle() const { return in_flight_ == 0 && waiting_.empty() && lost_.empty(); }
    // Completed without the lane: the loop must not sleep before it collects.
    bool has_lost() const { return !lost_.empty(); }
    // The lane wrote what no lane writes; it must be ended.
    bool broken() const { return broken_; }

private:
    enum class State : u8 { closed, open, lost };

    bool place(io::Completion& completion);
    void take_completed();
    void lose(io::Completion& completion);

    const backing::Handle& handle_;
    State state_ = State::closed;
    bool broken_ = false;
    bool changed_ = false;  // since the last hand_over
    Channel* channel_ = nullptr;
    Doorbell* lane_ = nullptr;
    u32 shard_ = 0;
    u32 workers_ = 1;
    u32 submitted_ = 0;  // jobs written, ever; published with hand_over
    u32 completed_ = 0;  // jobs taken back, ever
    u32 in_flight_ = 0;
    u32 free_count_ = jobs_max;
    std::array<u16, jobs_max> free_;
    std::array<io::Completion*, jobs_max> jobs_{};  // in flight, by number
    io::CompletionList waiting_;                    // for the lane, or for a free job
    io::CompletionList lost_;
};

}  // namespace ringloop::cgroup
