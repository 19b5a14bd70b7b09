// What a lane does, in a process of its own in the issuers' cgroup: takes jobs out of the shards'
// channels, carries them out with a ring of its own, and puts the results back. It decides nothing;
// the policy is the shards'. A pass of its loop is one io_uring_enter, and it sleeps nowhere else.
#pragma once

#include <memory>
#include <span>
#include <vector>

#include "backing/backing.h"
#include "cgroup/switchboard.h"
#include "io/kernel.h"

namespace ringloop::cgroup {

class LaneProcess {
public:
    // On the lane's only thread. `events`: an eventfd for each shard, by which it is woken;
    // `own_event`: by which this lane is. `handle` is of `kernel`. All outlive this object.
    LaneProcess(io::Kernel& kernel, const backing::Handle& handle, Switchboard& board, u32 lane,
                std::span<const int> events, int own_event);
    ~LaneProcess();

    // For ever: a lane ends by SIGKILL.
    [[noreturn]] void run();

    // One turn: publishes, enters the kernel (and waits there, if nobody has rung), takes new jobs.
    void pass(u64 wait_ns_max);

private:
    struct Task;  // a job in the kernel

    void publish();
    void take(u32 shard);
    void settle_workers();
    void start(Task& task, u32 shard, u16 number);
    void finish(Task& task);
    void event_start();
    static void task_on_kernel(io::Completion& completion);
    static void event_on_kernel(io::Completion& completion);

    // What this lane knows of one shard's channel.
    struct Line {
        u32 taken = 0;      // jobs taken, ever
        u32 finished = 0;   // results written, ever
        u32 published = 0;  // of them
        std::unique_ptr<Task[]> tasks;
    };
    struct Event : io::Completion {
        LaneProcess* lane = nullptr;
        u64 count = 0;
    };

    io::Kernel& kernel_;
    const backing::Handle& handle_;
    Switchboard& board_;
    const u32 lane_;
    const std::span<const int> events_;
    const int own_event_;
    std::vector<Line> lines_;  // by shard
    Event event_;
    u32 workers_ = 0;
    bool calls_ = false;  // jobs taken in this pass are calls on this thread
};

}  // namespace ringloop::cgroup
