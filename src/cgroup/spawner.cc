#include "cgroup/spawner.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <time.h>

#include <array>

#include "base/assert.h"
#include "cgroup/nursery.h"
#include "cgroup/pidfd.h"

namespace ringloop::cgroup {
namespace {

constexpr u64 spawn_timeout_ms = 2000;
constexpr int end_timeout_ms = 1000;  // once by itself, once more after SIGKILL

u64 now_ms() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    return static_cast<u64>(now.tv_sec) * 1000 + static_cast<u64>(now.tv_nsec) / 1'000'000;
}

// Where a new lane waits until its server knows of it; without a word of that, it never begins.
class Gate {
public:
    Gate() : fd_(::eventfd(0, EFD_CLOEXEC)) {}
    Gate(const Gate&) = delete;
    Gate& operator=(const Gate&) = delete;
    ~Gate() {
        if (fd_) tell(gate_abandon);
    }
    int fd() const { return fd_.get(); }
    void open() {
        tell(gate_go);
        fd_.reset();
    }

private:
    void tell(u64 word) const {
        const ssize_t written = ::write(fd_.get(), &word, sizeof(word));
        ASSERT(written == sizeof(word));
    }
    UniqueFd fd_;
};

std::unexpected<Error> refusal(const Place& place, const SpawnReply& reply) {
    const i32 number = reply.number == ENODEV ? ENOENT : reply.number;
    const std::string_view where = reply.step == SpawnStep::join_blkio    ? "blkio: "
                                   : reply.step == SpawnStep::join_memory ? "memory: "
                                                                          : "";
    const std::string name = fmt::format("cgroup {}{}", where, place.path);
    switch (number) {
        case ENOENT: return fail(number, "{} is gone", name);
        case EBUSY:
            return fail(number,
                        "{} takes no processes, because controllers are enabled for the cgroups "
                        "below it (cgroup.subtree_control); charge one of those",
                        name);
        case EOPNOTSUPP:
            return fail(number,
                        "{} takes no processes, because the cgroups beside it are threaded "
                        "(cgroup.type); charge one of those, or the one above it",
                        name);
        case EAGAIN:
            return fail(number,
                        "{} may have no further process; raise its pids.max (or that of one above "
                        "it, or ulimit -u)",
                        name);
        case ENOMEM:
            return fail(number, "no memory for a process in {}; free some, or raise its memory.max",
                        name);
        case EACCES:
        case EPERM:
            return fail(number,
                        "this user may not start a process in {}; that needs root, or write "
                        "access to cgroup.procs of it and of the cgroup that it and the server "
                        "have in common",
                        name);
        case ENOSYS:
            return fail(number,
                        "clone3 is forbidden to this process, most likely by a container's "
                        "seccomp profile; allow it");
        default: return fail_errno(number, "cannot start a process in {}", name);
    }
}

}  // namespace

struct Spawner::Answer {
    SpawnReply reply;
    UniqueFd process;
};

Result<Spawner> Spawner::start(Entry entry, void* context, std::span<const int> kept_fds) {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
        return fail_errno(errno, "no sockets for the process that starts lanes");
    }
    UniqueFd ours(ends[0]);
    const UniqueFd theirs(ends[1]);
    const UniqueFd null(::open("/dev/null", O_RDWR | O_CLOEXEC));
    if (!null) return fail_errno(errno, "/dev/null");
    Nursery nursery{.entry = entry,
                    .context = context,
                    .server = ::getpid(),
                    .socket = theirs.get(),
                    .null_fd = null.get(),
                    .kept_fds = {kept_fds.begin(), kept_fds.end()}};
    const pid_t pid = ::fork();
    if (pid < 0) return fail_errno(errno, "cannot start the process that starts lanes");
    if (pid == 0) run_nursery(std::move(nursery));
    // Its number cannot be another's: nobody has waited for it yet.
    UniqueFd process(pidfd_open(pid));
    if (!process) {
        const int number = errno;
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
        return fail_errno(number, "cannot watch the process that starts lanes");
    }
    return Spawner(pid, std::move(process), std::move(ours));
}

Spawner::~Spawner() {
    if (!nursery_) return;
    socket_.reset();
    if (!pidfd_ends_within(nursery_.get(), end_timeout_ms)) {
        pidfd_kill(nursery_.get());
        pidfd_ends_within(nursery_.get(), end_timeout_ms);
    }
    ::waitpid(pid_, nullptr, WNOHANG);
}

std::unexpected<Error> Spawner::lost() {
    socket_.reset();
    return fail(EPIPE, "the process that starts lanes (ringloop-lanes, {}) has died", pid_);
}

// For the socket. A lane that was frozen before it could close its copy of the nursery's end would
// hide the end, so the process itself is looked at, too.
Status Spawner::wait_for(short events, u64 deadline_ms) {
    for (;;) {
        std::array<pollfd, 2> fds = {{{socket_.get(), events, 0}, {nursery_.get(), POLLIN, 0}}};
        const u64 now = now_ms();
        const int left_ms = now < deadline_ms ? static_cast<int>(deadline_ms - now) : 0;
        const int ready = ::poll(fds.data(), fds.size(), left_ms);
        if (ready < 0 && errno == EINTR) continue;
        if (ready < 0) return fail_errno(errno, "cannot wait for a lane");
        if (ready == 0) {
            return fail(ETIMEDOUT, "no lane was started within {} s", spawn_timeout_ms / 1000);
        }
        if ((fds[0].revents & events) != 0) return {};
        return lost();
    }
}

Status Spawner::ask(std::span<const std::byte> request, std::span<const int> fds, u64 deadline_ms) {
    for (;;) {
        TRY(wait_for(POLLOUT, deadline_ms));
        const i32 sent = send_message(socket_.get(), request, fds, MSG_DONTWAIT);
        if (sent >= 0) return {};
        switch (-sent) {
            case EINTR:
            case EAGAIN: continue;
            case EPIPE:
            case ECONNRESET: return lost();
            default: return fail_errno(-sent, "cannot ask for a lane");
        }
    }
}

Result<Spawner::Answer> Spawner::answer(u64 serial, u64 deadline_ms) {
    for (;;) {
        TRY(wait_for(POLLIN, deadline_ms));
        Answer got;
        MessageFds fds;
        const auto body = std::as_writable_bytes(std::span(&got.reply, 1));
        const i32 received = receive_message(socket_.get(), body, fds, MSG_DONTWAIT);
        if (received == -EINTR || received == -EAGAIN) continue;
        if (received != sizeof(SpawnReply)) return lost();
        got.process = std::move(fds.fds[0]);
        if (got.reply.serial == serial) return got;
        // Of an earlier request that nobody waited for any more. It was abandoned, but may be
        // frozen and not know it.
        if (got.process) pidfd_kill(got.process.get());
    }
}

Result<Process> Spawner::spawn(const Place& place, u32 index, int doorbell_fd) {
    if (!socket_ || pidfd_ends_within(nursery_.get(), 0)) return lost();
    std::array<int, 2> ends{};
    if (::pipe2(ends.data(), O_CLOEXEC) != 0) return fail_errno(errno, "no pipe for a lane");
    UniqueFd life(ends[0]);
    UniqueFd life_of_lane(ends[1]);
    Gate gate;
    if (gate.fd() < 0) return fail_errno(errno, "no eventfd for a lane");

    const SpawnRequest request{.serial = ++serial_,
                               .index = index,
                               .joins_v2 = place.v2.get() >= 0,
                               .joins_blkio_v1 = place.blkio_v1.get() >= 0,
                               .joins_memory_v1 = place.memory_v1.get() >= 0};
    std::array<int, message_fds_max> fds = {doorbell_fd, life_of_lane.get(), gate.fd()};
    std::size_t count = 3;
    for (const UniqueFd* directory : {&place.v2, &place.blkio_v1, &place.memory_v1}) {
        if (*directory) fds[count++] = directory->get();
    }
    const u64 deadline_ms = now_ms() + spawn_timeout_ms;
    TRY(ask(std::as_bytes(std::span(&request, 1)), std::span(fds).first(count), deadline_ms));
    life_of_lane.reset();
    auto got = answer(serial_, deadline_ms);
    if (!got) return std::unexpected(std::move(got).error());
    if (got->reply.number != 0) return refusal(place, got->reply);
    if (!got->process) return fail(EMFILE, "no descriptor is left for a lane; raise ulimit -n");
    gate.open();
    return Process{got->reply.pid, std::move(got->process), std::move(life)};
}

Status Spawner::replace(int kept_fd, int file) {
    if (!socket_) return lost();
    const SpawnRequest request{.serial = ++serial_, .replaced_fd = kept_fd};
    const u64 deadline_ms = now_ms() + spawn_timeout_ms;
    const Status replaced = [&]() -> Status {
        TRY(ask(std::as_bytes(std::span(&request, 1)), std::span(&file, 1), deadline_ms));
        const auto got = answer(serial_, deadline_ms);
        if (!got) return std::unexpected(got.error());
        if (got->reply.number == 0) return {};
        return fail_errno(got->reply.number, "lanes cannot have another image");
    }();
    if (!replaced) socket_.reset();
    return replaced;
}

void Spawner::kill(const Process& process) { pidfd_kill(process.pidfd.get()); }

}  // namespace ringloop::cgroup
