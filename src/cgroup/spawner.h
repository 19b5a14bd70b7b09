// Processes in other cgroups, cloned quickly and without exec: the nursery.
//
// A lane could be forked by the server itself, but that has threads: whatever a lock of theirs
// protects is half done in a fork. So the server forks once while it is single-threaded, and that
// small process, the nursery, clones lanes for it for as long as the server lives. It joins the
// cgroup on the way (clone3 with CLONE_INTO_CGROUP), so that not a page of a lane is charged to
// anybody else. What was mapped MAP_SHARED before the nursery was started is in each lane, at the
// same address.
#pragma once

#include <sys/types.h>

#include <span>

#include "base/result.h"
#include "base/unique_fd.h"
#include "cgroup/hierarchy.h"

namespace ringloop::cgroup {

struct Process {
    pid_t pid = -1;  // for messages; whatever is done to the process is done by pidfd
    UniqueFd pidfd;  // readable when the process has ended
    // The read end of a pipe that nobody writes to. Its other end is in the process alone, so this
    // reads as ended (POLLHUP) when the process is gone *and* everything it registered life_fd
    // with, such as an io_uring whose last operation still runs. The kernel may count the process
    // as one of its cgroup for an instant more: rmdir of that may say EBUSY once.
    UniqueFd life;
};

class Spawner {
public:
    // Runs in a lane: a process with one thread, a copy of what the server was when start() was
    // called. Both descriptors are the lane's. When it returns, the process ends with code 0.
    //
    // The lane is named "ringloop-lane", is of its own session, leaves SIGTERM at its default so
    // that a tenant whose processes are told to end need not wait for it, and is killed when the
    // nursery or the server ends. Its descriptors 0 to 2 are /dev/null and all others closed but
    // kept_fds: it must not use what the server had open, such as its log.
    using Entry = void (*)(void* context, u32 index, int doorbell_fd, int life_fd);

    // Control thread, while it is the only one of the server, and never from one that ends before
    // the server does. The nursery inherits oom_score_adj, PR_SET_IO_FLUSHER and mounts, not
    // memory locks; it keeps kept_fds at their numbers.
    static Result<Spawner> start(Entry entry, void* context, std::span<const int> kept_fds);
    Spawner(Spawner&& other) noexcept = default;
    // All lanes are killed. Waits for the nursery, two seconds at the most, not for the lanes.
    ~Spawner();

    // One thread of the server, always the same. Waits two seconds at the most. Copies of
    // `doorbell_fd` and `index` go to the lane; nothing of `place` does.
    // Errors: ENOENT the cgroup is gone; EBUSY, EOPNOTSUPP it takes no processes; EAGAIN it has too
    // many; EACCES, EPERM; ENOMEM; ETIMEDOUT; EPIPE the nursery has died, and from then on always.
    // After an error there is no lane, nor will there be.
    // A lane of a frozen cgroup exists and does nothing: Hierarchies::process_is_held.
    Result<Process> spawn(const Place& place, u32 index, int doorbell_fd);

    // In the nursery, and so in every lane from the next one on, `kept_fd`, one of start()'s, is
    // what `file` is here. Waits as spawn does, and not beside it. After an error there will be no
    // lane any more: nobody knows which file it would have.
    Status replace(int kept_fd, int file);

    // SIGKILL. Process::life says when it is over.
    static void kill(const Process& process);

    pid_t nursery_pid() const { return pid_; }

private:
    Spawner(pid_t pid, UniqueFd nursery, UniqueFd socket)
        : pid_(pid), nursery_(std::move(nursery)), socket_(std::move(socket)) {}

    struct Answer;
    Status wait_for(short events, u64 deadline_ms);
    Status ask(std::span<const std::byte> request, std::span<const int> fds, u64 deadline_ms);
    Result<Answer> answer(u64 serial, u64 deadline_ms);
    std::unexpected<Error> lost();

    pid_t pid_;
    UniqueFd nursery_;  // its pidfd
    UniqueFd socket_;   // empty once the nursery is known to be dead
    u64 serial_ = 0;
};

}  // namespace ringloop::cgroup
