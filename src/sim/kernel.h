// The kernel at one ring, simulated: time is virtual, completions come in any order, and what can
// go wrong does, at the rates of the run's faults. The seam is io::Kernel: everything above it is
// the code that is shipped.
#pragma once

#include <deque>
#include <functional>
#include <map>
#include <memory>
#include <vector>

#include "io/kernel.h"
#include "sim/disk.h"
#include "sim/prng.h"
#include "sim/timeline.h"
#include "sim/trace.h"

namespace ringloop::sim {

class Kernel;

// Something else than the image that a ring can be asked of: a driver's character device, a socket,
// an eventfd.
class Endpoint {
public:
    virtual ~Endpoint() = default;
    // Of an operation on this endpoint: completes it now or later, by Kernel::complete.
    virtual void start(Kernel& kernel, io::Completion& completion) = 0;
    // Ends an operation that start has left waiting, by Kernel::complete with -ECANCELED. False:
    // it is not here (any more).
    virtual bool cancel(Kernel& kernel, io::Completion& completion) = 0;
};

// How often what goes wrong. Chances are in a million for each operation.
struct Faults {
    u32 short_transfer = 0;  // at every length, one byte included
    u32 interrupted = 0;     // EINTR
    u32 again_nowait = 0;    // EAGAIN of a try with RWF_NOWAIT
    u32 again_late = 0;      // EAGAIN of what may block
    u32 io_error = 0;        // EIO, nothing or a part was done
    u32 no_memory = 0;       // ENOMEM
    u32 sync_error = 0;      // an fdatasync fails once; some of what it covers will never be stable
    u32 writeback_error = 0;   // the same behind everybody's back; the next sync tells
    u32 zero_unsupported = 0;  // a fallocate mode or the discard command says EOPNOTSUPP, for good
    u32 nowait_unsupported = 0;  // RWF_NOWAIT says EOPNOTSUPP, for good
    u32 direct_refused = 0;      // EINVAL of an aligned direct transfer, for good
    u32 slow = 0;                // takes a hundred times as long
    u32 queue_full = 0;          // a submission has to wait for a later enter
    u32 connection_leaves = 0;   // an NBD client, after a request, one way or another
    u32 lanes_refused = 0;       // to a cgroup that wants one
    u32 lanes_killed = 0;        // each time that one is looked at
};

// What the file system has refused once, and never takes again.
struct Refusals {
    bool direct = false;
    bool nowait_read = false;
    bool nowait_write = false;
    bool punch = false;
    bool zero_range = false;
    bool discard = false;
};

// What all kernels of a run share.
struct Machine {
    Timeline& timeline;
    Prng& prng;
    Trace& trace;
    Disk& disk;
    Faults faults;  // changes as the run goes
    u64 latency_ns_max = 200'000;
    Refusals refusals;
    u32 direct_alignment = 512;  // of offsets, lengths and memory
    // Timeouts that were cancelled: their moment comes all the same, after their kernel maybe.
    std::vector<std::shared_ptr<void>> cancelled;
    u64 operations = 0;  // on the image, started by all kernels
    u64 inflight = 0;    // of them
};

class Kernel final : public io::Kernel {
public:
    // `turn` is asked for whenever a pass of the loop has something to do; the owner's.
    Kernel(Machine& machine, u32 number, void (*wants_turn)(void*), void* context);
    ~Kernel() override;

    // ---- For the loop under test.
    void submit(io::Completion& completion) override;
    void run_once(u64 wait_ns_max) override;
    u64 now_ns() const override { return pass_ns_; }
    u64 syscalls() const override { return passes_; }
    Status limit_workers(u32 workers) override;
    void signal(i32 eventfd) override;
    Result<io::FileRef> register_file(i32 fd) override;
    void unregister_file(io::FileRef) override {}
    Status register_buffers(std::span<const iovec> buffers) override;

    // ---- For the rest of the world.

    // Operations on descriptor `fd` go to `endpoint`, which outlives its last one. Again: replaces.
    void attach(i32 fd, Endpoint& endpoint) { endpoints_[fd] = &endpoint; }
    void detach(i32 fd) { endpoints_.erase(fd); }
    // What a signal of this kernel's loop to `eventfd` does.
    void on_signal(i32 eventfd, std::function<void()> heard) {
        signalled_[eventfd] = std::move(heard);
    }
    // By endpoints. `result` reaches the loop with its next pass.
    void complete(io::Completion& completion, i32 result);
    // The process was killed. What was in flight has happened, or not, or in part, by the time that
    // this returns; everything, later submissions too, completes with -ECANCELED.
    void kill();
    bool dead() const { return dead_; }
    // Asks for a turn of the loop, for a message that came from outside it.
    void nudge() { wants_turn_(context_); }
    // Something is to be handed over or to be delivered.
    bool busy() const { return !queued_.empty() || !ready_.empty(); }
    // A sync has failed here: whoever was there to hear of it is poisoned.
    bool sync_failed() const { return sync_failed_; }
    // No event of it is to come: it may be destroyed.
    bool quiet() const { return free_.size() == tasks_.size(); }
    u32 number() const { return number_; }

private:
    struct Task;  // an operation in flight

    void start(io::Completion& completion);
    void start_on_disk(io::Completion& completion);
    void start_timeout(io::Completion& completion);
    void start_cancel(io::Completion& completion);
    void run(Task& task);
    i32 refuse(const Task& task);
    i32 refuse_for_good(const io::Operation& operation);
    bool misaligned(io::Operation operation) const;
    u64 bytes_of(const io::Operation& operation);
    i32 transfer(Task& task);
    i32 sync(Task& task);
    u64 duration(const Task& task);
    void carry_out(Task& task);
    void finish(Task& task);
    void next_worker();
    static void task_happens(Event& event);
    static bool is_disk(const io::Operation& operation);
    Task& take_task(io::Completion& completion);
    void drop_task(Task& task);
    void forget(std::unique_ptr<Task>& task);

    Machine& machine_;
    const u32 number_;
    void (*const wants_turn_)(void*);
    void* const context_;
    std::deque<io::Completion*> queued_;  // submitted, not handed over
    io::CompletionList ready_;            // completed, not delivered
    std::map<i32, Endpoint*> endpoints_;
    std::vector<std::unique_ptr<Task>> tasks_;
    std::vector<Task*> free_;
    std::deque<Task*> waiting_;  // for a worker
    std::vector<i32> signals_;
    std::map<i32, std::function<void()>> signalled_;
    u32 workers_busy_ = 0;
    u32 workers_limit_ = ~0U;
    u64 pass_ns_ = 0;
    u64 passes_ = 0;
    bool dead_ = false;
    bool sync_failed_ = false;
    u64 sync_errors_told_ = 0;  // of the disk's, through the buffered file of this kernel
};

}  // namespace ringloop::sim
