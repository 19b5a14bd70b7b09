#include "cgroup/lane_link.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"

namespace ringloop::cgroup {
namespace {

// What a kernel may answer: an error, or no more bytes than were asked for.
bool possible(i32 result, const io::Operation& operation) {
    constexpr i32 errno_max = 4095;
    return result >= -errno_max && (result <= 0 || static_cast<u64>(result) <= operation.length);
}

}  // namespace

LaneLink::LaneLink(const backing::Handle& handle) : handle_(handle) {
    // The lowest first: memory that was used once is used again.
    for (u32 i = 0; i < jobs_max; ++i) free_[i] = static_cast<u16>(jobs_max - 1 - i);
}

void LaneLink::submit(io::Completion& completion) {
    ASSERT(completion.done != nullptr && completion.next == nullptr);
    if (state_ == State::lost) {
        lose(completion);
        return;
    }
    if (!waiting_.empty() || !place(completion)) waiting_.push(completion);
}

Status LaneLink::limit_workers(u32 workers) {
    workers_ = workers;
    if (state_ != State::open) return {};
    channel_->workers.store(workers, std::memory_order_relaxed);
    changed_ = true;
    return {};
}

void LaneLink::open(Channel& channel, Doorbell& lane, u32 shard) {
    ASSERT(state_ == State::closed && in_flight_ == 0);
    channel_ = &channel;
    lane_ = &lane;
    shard_ = shard;
    // Whoever used this lane before and let go of it has left the counts where they were.
    submitted_ = channel.submitted.load(std::memory_order_relaxed);
    completed_ = channel.completed.load(std::memory_order_acquire);
    state_ = State::open;
    static_cast<void>(limit_workers(workers_));
    while (!waiting_.empty() && place(*waiting_.front())) static_cast<void>(waiting_.pop());
}

void LaneLink::close() {
    ASSERT(state_ == State::lost && in_flight_ == 0);
    state_ = State::closed;
    changed_ = false;
}

bool LaneLink::place(io::Completion& completion) {
    if (state_ != State::open || free_count_ == 0) return false;
    const u16 number = free_[--free_count_];
    Job& job = channel_->jobs[number];
    const io::Operation& operation = completion.operation;
    ASSERT(operation.vector_count <= job.vectors.size());
    job.operation = operation;
    job.operation.fixed_buffer = -1;  // of the shard's ring
    job.direct = operation.file == handle_.direct;
    ASSERT(job.direct || operation.file == handle_.buffered);
    if (operation.vector_count > 0) {
        std::copy_n(operation.vectors, operation.vector_count, job.vectors.begin());
        job.operation.vectors = job.vectors.data();
    }
    jobs_[number] = &completion;
    ++in_flight_;
    channel_->submissions[submitted_++ % jobs_max] = number;
    changed_ = true;
    return true;
}

bool LaneLink::hand_over() {
    if (!std::exchange(changed_, false)) return false;
    channel_->submitted.store(submitted_, std::memory_order_release);
    return lane_->ring(shard_);
}

void LaneLink::collect() {
    if (state_ == State::open) take_completed();
    // Not those that come while these are called: a lost one may be submitted here again.
    io::CompletionList lost = lost_.take();
    while (io::Completion* completion = lost.pop()) completion->done(*completion);
}

void LaneLink::take_completed() {
    const u32 published = channel_->completed.load(std::memory_order_acquire);
    if (published - completed_ > in_flight_) broken_ = true;
    while (!broken_ && completed_ != published) {
        const u16 number = channel_->completions[completed_ % jobs_max];
        if (number >= jobs_max || !jobs_[number]) {
            broken_ = true;
            return;
        }
        // Once, so that what was checked is what is used.
        const i32 result = *static_cast<const volatile i32*>(&channel_->jobs[number].result);
        if (!possible(result, jobs_[number]->operation)) {
            broken_ = true;
            return;
        }
        ++completed_;
        --in_flight_;
        io::Completion& completion = *std::exchange(jobs_[number], nullptr);
        completion.result = result;
        completion.call_ns = channel_->jobs[number].call_ns;
        free_[free_count_++] = number;
        while (!waiting_.empty() && place(*waiting_.front())) static_cast<void>(waiting_.pop());
        completion.done(completion);
    }
}

void LaneLink::lose() {
    if (state_ == State::open) take_completed();
    state_ = State::lost;
    for (u32 number = 0; number < jobs_max; ++number) {
        io::Completion* completion = std::exchange(jobs_[number], nullptr);
        if (!completion) continue;
        free_[free_count_++] = static_cast<u16>(number);
        --in_flight_;
        lose(*completion);
    }
    ASSERT(in_flight_ == 0 && free_count_ == jobs_max);
    io::CompletionList waiting = waiting_.take();
    while (io::Completion* completion = waiting.pop()) lose(*completion);
}

void LaneLink::lose(io::Completion& completion) {
    completion.result = engine::lane_lost;
    completion.call_ns = 0;
    lost_.push(completion);
}

}  // namespace ringloop::cgroup
