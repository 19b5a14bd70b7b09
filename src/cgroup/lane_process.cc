#include "cgroup/lane_process.h"

#include <bit>
#include <utility>

#include "base/assert.h"

namespace ringloop::cgroup {

struct LaneProcess::Task : io::Completion {
    LaneProcess* lane = nullptr;
    u32 shard = 0;
    u16 number = 0;
};

LaneProcess::LaneProcess(io::Kernel& kernel, const backing::Handle& handle, Switchboard& board,
                         u32 lane, std::span<const int> events, int own_event)
    : kernel_(kernel),
      handle_(handle),
      board_(board),
      lane_(lane),
      events_(events),
      own_event_(own_event),
      lines_(board.shards()) {
    for (Line& line : lines_) line.tasks = std::make_unique<Task[]>(jobs_max);
    event_.lane = this;
    event_start();
}

LaneProcess::~LaneProcess() = default;

void LaneProcess::run() {
    for (;;) pass(io::wait_forever_ns);
}

void LaneProcess::pass(u64 wait_ns_max) {
    publish();
    const bool silent = board_.lane(lane_).doze();
    kernel_.run_once(silent ? wait_ns_max : 0);
    // A pass of calls has not entered the kernel. Shards that go on sending such jobs must not keep
    // it from there: others wait for their signal.
    if (std::exchange(calls_, false)) return;
    u64 rung = board_.lane(lane_).take();
    for (; rung != 0; rung &= rung - 1) take(static_cast<u32>(std::countr_zero(rung)));
}

void LaneProcess::publish() {
    for (u32 shard = 0; shard < lines_.size(); ++shard) {
        Line& line = lines_[shard];
        if (line.published == line.finished) continue;
        line.published = line.finished;
        board_.channel(lane_, shard).completed.store(line.finished, std::memory_order_release);
        if (board_.shard(shard).ring(lane_)) kernel_.signal(events_[shard]);
    }
}

void LaneProcess::take(u32 shard) {
    ASSERT(shard < lines_.size());
    Line& line = lines_[shard];
    Channel& channel = board_.channel(lane_, shard);
    const u32 submitted = channel.submitted.load(std::memory_order_acquire);
    while (line.taken != submitted) {
        const u16 number = channel.submissions[line.taken++ % jobs_max];
        ASSERT(number < jobs_max);
        start(line.tasks[number], shard, number);
    }
    settle_workers();
}

// One ring for all shards, and so one bound: the sum of what each may have.
void LaneProcess::settle_workers() {
    u32 workers = 0;
    for (u32 shard = 0; shard < lines_.size(); ++shard) {
        workers += board_.channel(lane_, shard).workers.load(std::memory_order_relaxed);
    }
    if (workers == workers_ || workers == 0) return;
    // As many as before will do if the kernel refuses.
    static_cast<void>(kernel_.limit_workers(workers));
    workers_ = workers;
}

void LaneProcess::start(Task& task, u32 shard, u16 number) {
    const Job& job = board_.channel(lane_, shard).jobs[number];
    task.lane = this;
    task.shard = shard;
    task.number = number;
    task.operation = job.operation;
    task.operation.file = job.direct ? handle_.direct : handle_.buffered;
    task.call_ns = 0;
    task.done = task_on_kernel;
    if (task.operation.on_thread) calls_ = true;
    kernel_.submit(task);
}

void LaneProcess::task_on_kernel(io::Completion& completion) {
    auto& task = static_cast<Task&>(completion);
    task.lane->finish(task);
}

void LaneProcess::finish(Task& task) {
    Channel& channel = board_.channel(lane_, task.shard);
    Job& job = channel.jobs[task.number];
    job.result = task.result;
    job.call_ns = task.call_ns;
    channel.completions[lines_[task.shard].finished++ % jobs_max] = task.number;
}

// Without it a ring that has nothing in flight would sleep for ever.
void LaneProcess::event_start() {
    event_.operation = {.code = io::Operation::Code::read,
                        .when_readable = true,
                        .file = {own_event_, false},
                        .offset = io::no_offset,
                        .length = sizeof event_.count,
                        .data = reinterpret_cast<std::byte*>(&event_.count)};
    event_.done = event_on_kernel;
    kernel_.submit(event_);
}

void LaneProcess::event_on_kernel(io::Completion& completion) {
    static_cast<Event&>(completion).lane->event_start();
}

}  // namespace ringloop::cgroup
