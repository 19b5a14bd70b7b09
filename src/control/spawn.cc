#include "control/spawn.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <spawn.h>
#include <sys/wait.h>

#include <array>
#include <exception>
#include <nlohmann/json.hpp>

#include "base/unique_fd.h"
#include "control/detach.h"
#include "control/runtime_dir.h"
#include "control/server.h"
#include "control/signals.h"
#include "control/state.h"
#include "control/wait.h"

namespace ringloop::control {
namespace {

// Every step of a server is bounded by itself; this is the sum of their bounds, for the case that
// one is not.
constexpr u64 ready_timeout_ms = 180'000;
constexpr u64 undo_timeout_ms = 120'000;
constexpr std::size_t line_bytes_max = 64 * 1024;

struct Pipe {
    UniqueFd read;
    UniqueFd write;
};

Result<Pipe> make_pipe() {
    std::array<int, 2> fds{};
    if (::pipe2(fds.data(), O_CLOEXEC) != 0) return fail_errno(errno, "no pipe to the server");
    return Pipe{UniqueFd(fds[0]), UniqueFd(fds[1])};
}

// What the child starts with: its own session, /dev/null for input and output, the caller's stderr
// until it has a log, one pipe, no other descriptor, and no blocked signal.
class SpawnSetup {
public:
    explicit SpawnSetup(int ready_fd) {
        ::posix_spawn_file_actions_init(&actions_);
        ::posix_spawnattr_init(&attributes_);
        note(::posix_spawn_file_actions_addopen(&actions_, STDIN_FILENO, "/dev/null", O_RDONLY, 0));
        note(
            ::posix_spawn_file_actions_addopen(&actions_, STDOUT_FILENO, "/dev/null", O_WRONLY, 0));
        // Onto itself: clears close-on-exec in the child alone (glibc 2.29).
        note(::posix_spawn_file_actions_adddup2(&actions_, ready_fd, ready_fd));
        sigset_t none;
        sigemptyset(&none);
        ::posix_spawnattr_setsigmask(&attributes_, &none);
        ::posix_spawnattr_setflags(&attributes_, POSIX_SPAWN_SETSID | POSIX_SPAWN_SETSIGMASK);
    }
    SpawnSetup(const SpawnSetup&) = delete;
    SpawnSetup& operator=(const SpawnSetup&) = delete;
    ~SpawnSetup() {
        ::posix_spawn_file_actions_destroy(&actions_);
        ::posix_spawnattr_destroy(&attributes_);
    }

    Result<pid_t> start(std::vector<std::string> arguments) const {
        if (failed_ != 0) return fail_errno(failed_, "cannot start the server");
        std::vector<char*> pointers;
        for (std::string& argument : arguments) pointers.push_back(argument.data());
        pointers.push_back(nullptr);
        pid_t pid = 0;
        const int number = ::posix_spawn(&pid, "/proc/self/exe", &actions_, &attributes_,
                                         pointers.data(), environ);
        if (number != 0) return fail_errno(number, "cannot start the server");
        return pid;
    }

private:
    // A server with the caller's own output would keep it open for as long as it lives.
    void note(int number) {
        if (failed_ == 0) failed_ = number;
    }

    int failed_ = 0;  // errno of the first step that did not work
    posix_spawn_file_actions_t actions_{};
    posix_spawnattr_t attributes_{};
};

// Waits for the child's end; kills it when that does not come in time.
int wait_for_end(pid_t pid, const Deadline& deadline) {
    int status = 0;
    const bool ended = wait_until(deadline, [&] { return ::waitpid(pid, &status, WNOHANG) != 0; });
    if (!ended) {
        ::kill(pid, SIGKILL);
        ::waitpid(pid, &status, 0);
    }
    return status;
}

// An exception on the way leaves no server behind that nobody was told of.
class Undo {
public:
    explicit Undo(pid_t pid) : pid_(pid), exceptions_(std::uncaught_exceptions()) {}
    Undo(const Undo&) = delete;
    Undo& operator=(const Undo&) = delete;
    ~Undo() {
        if (std::uncaught_exceptions() == exceptions_) return;
        ::kill(pid_, SIGTERM);
        wait_for_end(pid_, Deadline(undo_timeout_ms));
    }

private:
    const pid_t pid_;
    const int exceptions_;
};

// A server whose start failed undoes everything before it ends, unless it lacks the memory or is
// killed. A device with users stays as it is, for the next recovery. Returns the wait status.
int see_to_end(pid_t pid, WhenInterrupted when_interrupted, const std::string& since) {
    const int status = wait_for_end(pid, Deadline(undo_timeout_ms));
    if (when_interrupted == WhenInterrupted::leave) return status;
    if (const auto directory = RuntimeDir::open()) remove_leftovers_of(*directory, pid, since);
    return status;
}

Error end_without_word(int status) {
    if (WIFSIGNALED(status)) {
        return {EIO, fmt::format(
                         "the server was ended by signal {} before its device was ready; see dmesg",
                         WTERMSIG(status))};
    }
    if (WEXITSTATUS(status) == exit_without_memory) {
        return {ENOMEM,
                "the server ran out of memory before its device was ready; free some, or use fewer "
                "--queues"};
    }
    return {
        EIO,
        fmt::format(
            "the server ended with code {} before its device was ready; ringloop serve tells more",
            WEXITSTATUS(status))};
}

enum class Wakeup { line, signal, timeout };

Wakeup wait_for_line(int pipe_fd, const Signals& signals, const Deadline& deadline) {
    for (;;) {
        std::array<pollfd, 2> fds = {{{signals.fd(), POLLIN, 0}, {pipe_fd, POLLIN, 0}}};
        const int ready = ::poll(fds.data(), fds.size(), deadline.poll_timeout_ms());
        if (ready == 0) return Wakeup::timeout;
        if (ready < 0) continue;
        return fds[0].revents != 0 ? Wakeup::signal : Wakeup::line;
    }
}

// The line is one write of the server, so one read gets it whole.
std::string read_line_from(int fd) {
    std::string line(line_bytes_max, '\0');
    const ssize_t length = ::read(fd, line.data(), line.size());
    line.resize(length > 0 ? static_cast<std::size_t>(length) : 0);
    line.resize(std::min(line.find('\n'), line.size()));
    return line;
}

}  // namespace

Result<std::string> spawn_server(const std::vector<std::string>& arguments,
                                 WhenInterrupted when_interrupted) {
    auto signals = Signals::block();
    if (!signals) return std::unexpected(std::move(signals).error());
    auto pipe = make_pipe();
    if (!pipe) return std::unexpected(std::move(pipe).error());
    // A descriptor that a shell or a test left open must not live as long as the device.
    ::close_range(STDERR_FILENO + 1, ~0U, CLOSE_RANGE_CLOEXEC);

    std::vector<std::string> command = {"ringloop", "serve",
                                        fmt::format("--ready-fd={}", pipe->write.get())};
    command.insert(command.end(), arguments.begin(), arguments.end());
    const std::string since = utc_now();
    const auto pid = SpawnSetup(pipe->write.get()).start(std::move(command));
    if (!pid) return std::unexpected(pid.error());
    const Undo undo(*pid);
    pipe->write.reset();  // the server's copy is the only one: its death is the end of the pipe

    const Wakeup wakeup = wait_for_line(pipe->read.get(), *signals, Deadline(ready_timeout_ms));
    if (wakeup == Wakeup::signal && when_interrupted == WhenInterrupted::leave) {
        return fail(EINTR, "interrupted; see ringloop list for what became of the device");
    }
    if (wakeup != Wakeup::line) {
        ::kill(*pid, SIGTERM);
        see_to_end(*pid, when_interrupted, since);
        if (wakeup == Wakeup::signal) return fail(EINTR, "interrupted");
        return fail(ETIMEDOUT, "the device was not ready after {} s; see that its image answers",
                    ready_timeout_ms / 1000);
    }
    std::string line = read_line_from(pipe->read.get());
    if (line.empty()) {
        return std::unexpected(end_without_word(see_to_end(*pid, when_interrupted, since)));
    }
    const auto told = parse_json(line);
    if (told && told->is_object() && told->contains("error") && (*told)["error"].is_string()) {
        see_to_end(*pid, when_interrupted, since);
        return std::unexpected(Error{EIO, (*told)["error"].get<std::string>()});
    }
    return line;
}

}  // namespace ringloop::control
