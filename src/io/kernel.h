// The one seam to the operating system on the data path: io::Uring in production, a scripted or
// simulated kernel under test. Everything above it is the same code in both.
#pragma once

#include <span>

#include "base/list.h"
#include "base/result.h"
#include "io/operation.h"

namespace ringloop::io {

// An operation in flight. Its owner derives from it and keeps it in place from submit until done;
// nothing is allocated for it. `next` links it on the kernel's own lists meanwhile.
struct Completion {
    Operation operation;
    // As in a completion entry: bytes moved or another non-negative answer, or -errno.
    i32 result = 0;
    // Of an operation on_thread that may have blocked (no RWF_NOWAIT): how long it took, about.
    u64 call_ns = 0;
    // Called from run_once only, never from submit, so no call stack can grow with the load.
    void (*done)(Completion&) = nullptr;
    Completion* next = nullptr;
};

using CompletionList = Fifo<Completion, &Completion::next>;

inline constexpr u64 wait_forever_ns = ~u64{0};

// Whoever carries out operations on the image: the kernel at this thread's ring, or a lane in
// another cgroup that has a ring of its own. Used by one thread. Never fails to accept work: what
// does not fit a queue waits in a list and goes with a later pass.
class Executor {
public:
    virtual ~Executor() = default;

    // Queues one operation; it is on its way with the end of this pass of the thread's loop.
    virtual void submit(Completion& completion) = 0;

    // Of the kernel's threads that do for this object what would block (io-wq), at most `workers`
    // exist at one time. Any time; those that are too many end by themselves.
    virtual Status limit_workers(u32 workers) = 0;
};

// Used by one thread, the one that made it.
class Kernel : public Executor {
public:
    // One pass: hands over everything queued, waits until something completed or wait_ns_max has
    // passed (0: does not wait), then calls `done` of all that completed. A pass that has calls to
    // make on this thread makes only those: their answers go out with the next enter.
    virtual void run_once(u64 wait_ns_max) = 0;

    // CLOCK_MONOTONIC, nanoseconds, read once a pass after the wait: what happens in one pass
    // happens at one time, and a request costs no clock call of its own.
    virtual u64 now_ns() const = 0;

    // System calls of the data path that this thread made so far.
    virtual u64 syscalls() const = 0;

    // Adds one to an eventfd with the next enter: no completion, and no system call of its own.
    // The eventfd has O_NONBLOCK: to write to one without, io_uring takes a worker and two switches
    // of context (io_uring/rw.c, loop_rw_iter).
    virtual void signal(i32 eventfd) = 0;

    // Not on the path of a request. The descriptor stays the caller's and outlives this object, or
    // its registration: a few can be registered at one time (Uring::Options::files_max).
    virtual Result<FileRef> register_file(i32 fd) = 0;
    // Nothing that names the file is in flight, and nothing will.
    virtual void unregister_file(FileRef file) = 0;
    // At start, once. Buffer i of the span is Operation::fixed_buffer i. Pins their memory.
    virtual Status register_buffers(std::span<const iovec> buffers) = 0;
};

}  // namespace ringloop::io
