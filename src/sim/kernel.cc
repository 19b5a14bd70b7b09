#include "sim/kernel.h"

#include <fcntl.h>
#include <sys/uio.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "backing/backing.h"

namespace ringloop::sim {
namespace {

using Code = io::Operation::Code;

constexpr u64 call_ns_max = 20'000;  // of a system call that does not wait

bool moves_data(Code code) {
    return code == Code::read || code == Code::write || code == Code::readv || code == Code::writev;
}
bool writes_data(Code code) { return code == Code::write || code == Code::writev; }

std::span<iovec> vectors_of(io::Operation& operation, iovec& single) {
    if (operation.code == Code::readv || operation.code == Code::writev) {
        return {operation.vectors, operation.vector_count};
    }
    single = {operation.data, operation.length};
    return {&single, 1};
}

}  // namespace

struct Kernel::Task : Event {
    Kernel* kernel = nullptr;
    io::Completion* completion = nullptr;
    u64 number = 0;
    u64 mark = 0;  // of a sync: what it covers
    bool worker = false;
    bool early = false;  // carried out when it starts, and not when it ends
    i32 result = 0;
    bool timeout = false;
    bool in_use = false;
};

Kernel::Kernel(Machine& machine, u32 number, void (*wants_turn)(void*), void* context)
    : machine_(machine),
      number_(number),
      wants_turn_(wants_turn),
      context_(context),
      sync_errors_told_(machine.disk.writeback_errors_told) {}

Kernel::~Kernel() {
    for (const auto& task : tasks_) ASSERT(!task->scheduled);
}

void Kernel::submit(io::Completion& completion) {
    queued_.push_back(&completion);
    wants_turn_(context_);
}

void Kernel::complete(io::Completion& completion, i32 result) {
    completion.result = result;
    ready_.push(completion);
    wants_turn_(context_);
}

void Kernel::run_once(u64) {
    ++passes_;
    pass_ns_ = machine_.timeline.now_ns();
    std::deque<io::Completion*> batch;
    std::swap(batch, queued_);
    while (!batch.empty()) {
        if (!dead_ && machine_.prng.chance(machine_.faults.queue_full)) break;
        io::Completion* completion = batch.front();
        batch.pop_front();
        start(*completion);
    }
    for (const i32 eventfd : std::exchange(signals_, {})) {
        const auto found = signalled_.find(eventfd);
        if (found != signalled_.end() && !dead_) found->second();
    }
    io::CompletionList ready = ready_.take();
    while (io::Completion* completion = ready.pop()) completion->done(*completion);
    // What did not fit the queue goes before what came meanwhile.
    queued_.insert(queued_.begin(), batch.begin(), batch.end());
    if (busy()) wants_turn_(context_);
}

Status Kernel::limit_workers(u32 workers) {
    workers_limit_ = workers;
    next_worker();
    return {};
}

void Kernel::signal(i32 eventfd) {
    signals_.push_back(eventfd);
    wants_turn_(context_);
}

Result<io::FileRef> Kernel::register_file(i32 fd) { return io::FileRef{fd, false}; }

Status Kernel::register_buffers(std::span<const iovec>) { return {}; }

bool Kernel::is_disk(const io::Operation& operation) {
    return operation.file.number == backing::Backing::simulated_direct ||
           operation.file.number == backing::Backing::simulated_buffered;
}

Kernel::Task& Kernel::take_task(io::Completion& completion) {
    if (free_.empty()) {
        tasks_.push_back(std::make_unique<Task>());
        free_.push_back(tasks_.back().get());
    }
    Task& task = *free_.back();
    free_.pop_back();
    task = Task{};
    task.happen = task_happens;
    task.kernel = this;
    task.completion = &completion;
    task.in_use = true;
    return task;
}

void Kernel::drop_task(Task& task) {
    task.in_use = false;
    free_.push_back(&task);
}

void Kernel::start(io::Completion& completion) {
    const io::Operation& operation = completion.operation;
    if (dead_) return complete(completion, -ECANCELED);
    if (operation.code == Code::timeout) return start_timeout(completion);
    if (operation.code == Code::cancel) return start_cancel(completion);
    if (is_disk(operation)) return start_on_disk(completion);
    const auto found = endpoints_.find(operation.file.number);
    if (found == endpoints_.end()) return complete(completion, -EBADF);
    found->second->start(*this, completion);
}

void Kernel::start_timeout(io::Completion& completion) {
    Task& task = take_task(completion);
    task.timeout = true;
    task.result = -ETIME;
    const auto& payload = completion.operation.payload;
    machine_.timeline.after(payload[0] * 1'000'000'000 + payload[1], task);
}

// As io_uring has it: what is carried out already is not taken back (-EALREADY), a wait is.
void Kernel::start_cancel(io::Completion& completion) {
    io::Completion* target = completion.operation.target;
    for (auto& task : tasks_) {
        if (!task->in_use || task->completion != target) continue;
        if (!task->timeout) return complete(completion, -EALREADY);
        forget(task);
        complete(*target, -ECANCELED);
        return complete(completion, 0);
    }
    for (const auto& [fd, endpoint] : endpoints_) {
        if (endpoint->cancel(*this, *target)) return complete(completion, 0);
    }
    complete(completion, -ENOENT);
}

// Its event finds nothing to do.
void Kernel::forget(std::unique_ptr<Task>& task) {
    task->completion = nullptr;
    task->kernel = nullptr;
    machine_.cancelled.push_back(std::shared_ptr<Task>(std::move(task)));
    std::swap(task, tasks_.back());
    tasks_.pop_back();
}

// ---- The image ----

void Kernel::start_on_disk(io::Completion& completion) {
    Task& task = take_task(completion);
    const io::Operation& operation = completion.operation;
    task.number = ++machine_.operations;
    ++machine_.inflight;
    machine_.trace.add({.at_ns = machine_.timeline.now_ns(),
                        .what = What::started,
                        .detail = static_cast<u8>(operation.code),
                        .actor = static_cast<u16>(number_),
                        .number = task.number,
                        .range = {operation.offset, operation.length}});
    const bool blocks = !moves_data(operation.code) && operation.code != Code::discard;
    task.worker = !operation.on_thread && (operation.force_async || blocks);
    if (task.worker && workers_busy_ >= workers_limit_) {
        waiting_.push_back(&task);
        return;
    }
    run(task);
}

void Kernel::run(Task& task) {
    if (task.worker) ++workers_busy_;
    const io::Operation& operation = task.completion->operation;
    task.mark = machine_.disk.mark();
    const bool syncs = operation.code == Code::fdatasync;
    task.early = operation.on_thread || (!syncs && machine_.prng.below(2) == 0);
    task.result = refuse(task);
    if (task.early && task.result == 0) carry_out(task);
    if (operation.on_thread) {
        task.completion->call_ns =
            machine_.prng.below(operation.rw_flags & RWF_NOWAIT ? call_ns_max : 30 * call_ns_max);
        return finish(task);
    }
    machine_.timeline.after(duration(task), task);
}

// A worker that was never limited below one always comes back.
void Kernel::next_worker() {
    while (!waiting_.empty() && workers_busy_ < workers_limit_) {
        Task* task = waiting_.front();
        waiting_.pop_front();
        run(*task);
    }
}

u64 Kernel::duration(const Task& task) {
    Prng& prng = machine_.prng;
    const u64 base = task.result < 0 ? call_ns_max : machine_.latency_ns_max;
    const u64 time = 1 + prng.below(base);
    return prng.chance(machine_.faults.slow) ? 100 * time : time;
}

// An errno that it ends with before anything was done, or 0. Chances are drawn in a fixed order.
i32 Kernel::refuse(const Task& task) {
    const io::Operation& operation = task.completion->operation;
    const Faults& faults = machine_.faults;
    Prng& prng = machine_.prng;
    if (const i32 refusal = refuse_for_good(operation)) return refusal;
    const bool nowait = (operation.rw_flags & RWF_NOWAIT) != 0;
    if (nowait && prng.chance(faults.again_nowait)) return -EAGAIN;
    if (!nowait && moves_data(operation.code) && prng.chance(faults.again_late)) return -EAGAIN;
    if (prng.chance(faults.interrupted)) return -EINTR;
    if (prng.chance(faults.no_memory)) return -ENOMEM;
    if (operation.code == Code::fdatasync) return 0;  // its own errors: carry_out
    return prng.chance(faults.io_error) ? -EIO : 0;
}

// What a file system does not have it never has.
i32 Kernel::refuse_for_good(const io::Operation& operation) {
    const Faults& faults = machine_.faults;
    Refusals& refusals = machine_.refusals;
    const auto refused = [this](bool& known, u32 chance) {
        known = known || machine_.prng.chance(chance);
        return known;
    };
    const bool direct = operation.file.number == backing::Backing::simulated_direct;
    if (moves_data(operation.code)) {
        if (direct && misaligned(operation)) return -EINVAL;
        if (direct && refused(refusals.direct, faults.direct_refused)) return -EINVAL;
        if ((operation.rw_flags & RWF_NOWAIT) == 0) return 0;
        const bool writes = writes_data(operation.code);
        bool& known = writes ? refusals.nowait_write : refusals.nowait_read;
        if (refused(known, faults.nowait_unsupported)) return -EOPNOTSUPP;
        // To find a page that was never allocated is work that may block.
        const bool allocates =
            writes && !machine_.disk.allocated({operation.offset, operation.length});
        return allocates ? -EAGAIN : 0;
    }
    if (operation.code == Code::discard) {
        return refused(refusals.discard, faults.zero_unsupported) ? -EOPNOTSUPP : 0;
    }
    if (operation.code != Code::fallocate) return 0;
    const bool punches = (operation.mode & FALLOC_FL_PUNCH_HOLE) != 0;
    bool& known = punches ? refusals.punch : refusals.zero_range;
    return refused(known, faults.zero_unsupported) ? -EOPNOTSUPP : 0;
}

bool Kernel::misaligned(io::Operation operation) const {
    const u64 alignment = machine_.direct_alignment;
    if (!is_aligned(operation.offset | operation.length, alignment)) return true;
    iovec single;
    for (const iovec& vector : vectors_of(operation, single)) {
        const auto address = reinterpret_cast<u64>(vector.iov_base);
        if (!is_aligned(address | vector.iov_len, alignment)) return true;
    }
    return false;
}

void Kernel::carry_out(Task& task) {
    const io::Operation& operation = task.completion->operation;
    Disk& disk = machine_.disk;
    const ByteRange range{operation.offset, operation.length};
    switch (operation.code) {
        case Code::read:
        case Code::readv:
        case Code::write:
        case Code::writev: task.result = transfer(task); return;
        case Code::fdatasync: task.result = sync(task); return;
        case Code::discard: disk.zero(range, false); return;
        case Code::fallocate: {
            const bool keep = (operation.mode & FALLOC_FL_PUNCH_HOLE) == 0;
            if (keep && disk.room(range) < range.length) {
                task.result = -ENOSPC;
                return;
            }
            disk.zero(range, keep);
            return;
        }
        default: return;  // a prefetch reads nothing that anybody sees
    }
}

// How many bytes of it there are to move; a fault makes it any number from one on.
u64 Kernel::bytes_of(const io::Operation& operation) {
    const u64 length = operation.length;
    if (length > 1 && machine_.prng.chance(machine_.faults.short_transfer)) {
        return machine_.prng.between(1, length - 1);
    }
    return length;
}

i32 Kernel::transfer(Task& task) {
    io::Operation& operation = task.completion->operation;
    Disk& disk = machine_.disk;
    const bool writes = writes_data(operation.code);
    u64 bytes = bytes_of(operation);
    if (writes) {
        bytes = std::min(bytes, disk.room({operation.offset, bytes}));
        if (bytes == 0) return -ENOSPC;
    } else if (!disk.readable({operation.offset, bytes})) {
        return -EIO;
    }
    iovec single;
    u64 moved = 0;
    for (const iovec& vector : vectors_of(operation, single)) {
        const u64 part = std::min<u64>(vector.iov_len, bytes - moved);
        if (part == 0) break;
        auto* memory = static_cast<std::byte*>(vector.iov_base);
        if (writes) {
            disk.write(operation.offset + moved, memory, part);
            moved += part;
            continue;
        }
        const u64 read = disk.read(operation.offset + moved, memory, part);
        moved += read;
        if (read < part) break;
    }
    if (writes && (operation.rw_flags & RWF_DSYNC) != 0) disk.sync_range({operation.offset, moved});
    return static_cast<i32>(moved);
}

// The kernel tells each open file of a failed writeback once (errseq_t).
i32 Kernel::sync(Task& task) {
    Disk& disk = machine_.disk;
    if (machine_.prng.chance(machine_.faults.sync_error)) {
        disk.lose(task.mark);
        disk.sync(task.mark);
        sync_failed_ = true;
        return -EIO;
    }
    disk.sync(task.mark);
    if (sync_errors_told_ == disk.writeback_errors()) return 0;
    sync_errors_told_ = disk.writeback_errors_told = disk.writeback_errors();
    sync_failed_ = true;
    return -EIO;
}

void Kernel::task_happens(Event& event) {
    Task& task = static_cast<Task&>(event);
    if (!task.kernel) return;
    Kernel& kernel = *task.kernel;
    if (task.timeout) {
        io::Completion& completion = *task.completion;
        const i32 result = task.result;
        kernel.drop_task(task);
        return kernel.complete(completion, result);
    }
    if (!task.early && task.result == 0) kernel.carry_out(task);
    kernel.finish(task);
}

void Kernel::finish(Task& task) {
    io::Completion& completion = *task.completion;
    const io::Operation& operation = completion.operation;
    machine_.trace.add({.at_ns = machine_.timeline.now_ns(),
                        .what = What::ended,
                        .detail = static_cast<u8>(operation.code),
                        .actor = static_cast<u16>(number_),
                        .number = task.number,
                        .range = {operation.offset, operation.length},
                        .value = task.result});
    --machine_.inflight;
    if (task.worker) --workers_busy_;
    const i32 result = task.result;
    drop_task(task);
    complete(completion, result);
    next_worker();
}

// In flight at the end of a process: some of it was carried out, some not, one or the other in
// part.
void Kernel::kill() {
    dead_ = true;
    waiting_.clear();
    for (std::size_t i = tasks_.size(); i-- > 0;) {
        if (!tasks_[i]->in_use) continue;
        Task& task = *tasks_[i];
        // A sync that fails with nobody there to hear of it is more than a kill.
        const bool syncs = task.completion->operation.code == Code::fdatasync;
        const bool undecided = !task.early && !task.timeout && !syncs && task.scheduled;
        if (undecided && task.result == 0 && machine_.prng.below(2) == 0) carry_out(task);
        if (!task.timeout) --machine_.inflight;
        io::Completion& completion = *task.completion;
        task.scheduled ? forget(tasks_[i]) : drop_task(task);
        complete(completion, -ECANCELED);
    }
    workers_busy_ = 0;
    signals_.clear();
}

}  // namespace ringloop::sim
