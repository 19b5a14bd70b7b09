#include "cgroup/nursery.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

#include "cgroup/pidfd.h"

namespace ringloop::cgroup {
namespace {

constexpr std::size_t control_bytes = CMSG_SPACE(message_fds_max * sizeof(int));

// ---- becoming the nursery ----------------------------------------------------------------------

void set_handler(int signal, void (*handler)(int)) {
    struct sigaction action{};
    action.sa_handler = handler;
    // Some cannot be changed, and need not be.
    ::sigaction(signal, &action, nullptr);
}

// Asked to end with everyone else (a terminal, a service manager), the nursery stays until the
// server has drained, and leaves when that closes the socket. Handlers of faults stay: they report.
void settle_signals() {
    constexpr std::array faults = {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS};
    for (int signal = 1; signal <= SIGRTMAX; ++signal) {
        if (std::ranges::find(faults, signal) == faults.end()) set_handler(signal, SIG_DFL);
    }
    for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE}) {
        set_handler(signal, SIG_IGN);
    }
    set_handler(SIGCHLD, SIG_IGN);  // the kernel reaps lanes
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
}

// Nothing of the server's stays open by accident: a descriptor of its device would keep it busy.
// 0 to 2 stay taken, so that what is written to stderr never ends up in a doorbell.
void settle_descriptors(Nursery& nursery) {
    std::vector<int>& kept = nursery.kept_fds;
    kept.push_back(nursery.socket);
    std::ranges::sort(kept);
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) {
        if (std::ranges::binary_search(kept, fd) || fd == nursery.null_fd) continue;
        ::dup3(nursery.null_fd, fd, O_CLOEXEC);
    }
    unsigned first = STDERR_FILENO + 1;
    for (const int fd : kept) {
        const auto number = static_cast<unsigned>(fd);
        if (number < first) continue;
        if (number > first) ::close_range(first, number - 1, 0);
        first = number + 1;
    }
    ::close_range(first, ~0U, 0);
}

void end_with_parent(pid_t parent) {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    // It may have ended before.
    if (::getppid() != parent) ::_exit(0);
}

// ---- a lane ------------------------------------------------------------------------------------

struct Lane {
    SpawnRequest request;
    MessageFds fds;

    int doorbell() const { return fds.fds[0].get(); }
    int life() const { return fds.fds[1].get(); }
    int gate() const { return fds.fds[2].get(); }
    // The n-th of the directories to join.
    int place(std::size_t n) const { return fds.fds[3 + n].get(); }
    std::size_t places() const {
        return std::size_t{request.joins_v2} + std::size_t{request.joins_blkio_v1} +
               std::size_t{request.joins_memory_v1};
    }
    bool is_complete() const { return fds.count == 3 + places(); }
};

[[noreturn]] void run_lane(const Nursery& nursery, Lane& lane, pid_t parent) {
    end_with_parent(parent);
    ::close(nursery.socket);
    for (std::size_t n = 0; n < lane.places(); ++n) lane.fds.fds[3 + n].reset();
    ::prctl(PR_SET_NAME, "ringloop-lane");
    for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGCHLD}) {
        set_handler(signal, SIG_DFL);
    }
    u64 word = 0;
    while (::read(lane.gate(), &word, sizeof(word)) < 0) {
        if (errno != EINTR) ::_exit(1);
    }
    if (word == gate_go) {
        lane.fds.fds[2].reset();
        const int doorbell = lane.fds.fds[0].release();
        const int life = lane.fds.fds[1].release();
        nursery.entry(nursery.context, lane.request.index, doorbell, life);
    }
    ::_exit(0);
}

// 0 or errno.
i32 join(int directory_fd, i32 pid) {
    const UniqueFd fd(::openat(directory_fd, "cgroup.procs", O_WRONLY | O_CLOEXEC));
    if (!fd) return errno;
    const std::string text = std::to_string(pid);
    return ::write(fd.get(), text.data(), text.size()) < 0 ? errno : 0;
}

// While the lane waits at its gate. v1 knows no way to be cloned into a cgroup.
void join_v1(const Lane& lane, SpawnReply& reply) {
    std::size_t next = lane.request.joins_v2 ? 1 : 0;
    if (lane.request.joins_blkio_v1) {
        reply.step = SpawnStep::join_blkio;
        reply.number = join(lane.place(next++), reply.pid);
    }
    if (reply.number == 0 && lane.request.joins_memory_v1) {
        reply.step = SpawnStep::join_memory;
        reply.number = join(lane.place(next), reply.pid);
    }
}

// clone(2): like fork, without what glibc does around it. This process has one thread, and nothing
// in a lane asks glibc for its own number.
UniqueFd start_lane(const Nursery& nursery, Lane& lane, SpawnReply& reply) {
    const pid_t self = ::getpid();
    int pidfd = -1;
    clone_args arguments{};
    arguments.flags = CLONE_PIDFD;
    arguments.pidfd = reinterpret_cast<u64>(&pidfd);
    arguments.exit_signal = SIGCHLD;
    if (lane.request.joins_v2) {
        arguments.flags |= CLONE_INTO_CGROUP;
        arguments.cgroup = static_cast<u32>(lane.place(0));
    }
    const long pid = ::syscall(SYS_clone3, &arguments, sizeof(arguments));
    if (pid == 0) run_lane(nursery, lane, self);
    if (pid < 0) {
        reply.number = errno;
        return {};
    }
    UniqueFd process(pidfd);
    reply.pid = static_cast<i32>(pid);
    join_v1(lane, reply);
    if (reply.number == 0) return process;
    pidfd_kill(process.get());
    return {};
}

// 0 or errno.
i32 replace(const Lane& request) {
    if (request.fds.count != 1) return EMFILE;
    const int number = request.request.replaced_fd;
    return ::dup3(request.fds.fds[0].get(), number, O_CLOEXEC) < 0 ? errno : 0;
}

void serve(const Nursery& nursery) {
    for (;;) {
        Lane lane;
        const auto body = std::as_writable_bytes(std::span(&lane.request, 1));
        const i32 received = receive_message(nursery.socket, body, lane.fds, 0);
        if (received == -EINTR) continue;
        if (received != sizeof(SpawnRequest)) return;
        SpawnReply reply{.serial = lane.request.serial};
        UniqueFd process;
        if (lane.request.replaced_fd >= 0) {
            reply.number = replace(lane);
        } else if (lane.is_complete()) {
            process = start_lane(nursery, lane, reply);
        } else {
            reply.number = EMFILE;  // the kernel dropped what did not fit
        }
        lane.fds = {};  // before the server hears of it: they are the lane's alone now
        const int fd = process.get();
        const std::span fds(&fd, process ? 1 : 0);
        if (send_message(nursery.socket, std::as_bytes(std::span(&reply, 1)), fds, 0) < 0) return;
    }
}

}  // namespace

void run_nursery(Nursery nursery) {
    end_with_parent(nursery.server);
    ::prctl(PR_SET_NAME, "ringloop-lanes");
    ::setsid();  // Ctrl-C is for the server
    settle_signals();
    settle_descriptors(nursery);
    serve(nursery);
    ::_exit(0);
}

i32 send_message(int socket, std::span<const std::byte> body, std::span<const int> fds, int flags) {
    iovec part = {const_cast<std::byte*>(body.data()), body.size()};
    alignas(cmsghdr) std::array<std::byte, control_bytes> control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (!fds.empty()) {
        message.msg_control = control.data();
        message.msg_controllen = CMSG_SPACE(fds.size_bytes());
        cmsghdr* header = CMSG_FIRSTHDR(&message);
        header->cmsg_level = SOL_SOCKET;
        header->cmsg_type = SCM_RIGHTS;
        header->cmsg_len = CMSG_LEN(fds.size_bytes());
        std::memcpy(CMSG_DATA(header), fds.data(), fds.size_bytes());
    }
    const ssize_t sent = ::sendmsg(socket, &message, flags | MSG_NOSIGNAL);
    return sent < 0 ? -errno : static_cast<i32>(sent);
}

i32 receive_message(int socket, std::span<std::byte> body, MessageFds& fds, int flags) {
    iovec part = {body.data(), body.size()};
    alignas(cmsghdr) std::array<std::byte, control_bytes> control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.data();
    message.msg_controllen = control.size();
    const ssize_t received = ::recvmsg(socket, &message, flags | MSG_CMSG_CLOEXEC);
    if (received < 0) return -errno;
    for (cmsghdr* header = CMSG_FIRSTHDR(&message); header;
         header = CMSG_NXTHDR(&message, header)) {
        if (header->cmsg_level != SOL_SOCKET || header->cmsg_type != SCM_RIGHTS) continue;
        const std::size_t count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
        for (std::size_t i = 0; i < count; ++i) {
            int fd = -1;
            std::memcpy(&fd, CMSG_DATA(header) + i * sizeof(int), sizeof(fd));
            if (fds.count < fds.fds.size()) fds.fds[fds.count++].reset(fd);
        }
    }
    return static_cast<i32>(received);
}

}  // namespace ringloop::cgroup
