#include "control/opener.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <exception>
#include <nlohmann/json.hpp>

#include "abi/magic.h"
#include "cgroup/nursery.h"
#include "cgroup/pidfd.h"
#include "control/block_node.h"
#include "control/flush.h"
#include "control/state.h"

namespace ringloop::control {
namespace {

using nlohmann::json;

constexpr int end_timeout_ms = 1000;  // once by itself, once more after SIGKILL
constexpr std::size_t text_bytes_max = 32 * kib;

// The server's own, of which there is one. Control thread.
Opener* opener_of_server = nullptr;

enum class What : u32 { open_again, holders, flush, set_read_only };

// One packet, with a descriptor for open_again.
struct Request {
    What what = What::open_again;
    u64 value = 0;  // flags; Holding; milliseconds; 0 or 1
};

// One packet, with the descriptor that was opened. `text` is what a person is told of an error, or
// the holders, a line each; as long as the packet.
struct Reply {
    i32 number = 0;  // errno, 0: done
    std::array<char, text_bytes_max> text;

    static constexpr std::size_t head_bytes = sizeof(number);
};

constexpr int flags_allowed = O_ACCMODE | O_DIRECT;

// Where files are the kernel's settings and what it tells: a server reads some of them (sandbox.h).
constexpr auto kernel_file_systems = std::to_array<u32>({
    PROC_SUPER_MAGIC,
    SYSFS_MAGIC,
    CGROUP_SUPER_MAGIC,
    CGROUP2_SUPER_MAGIC,
    DEBUGFS_MAGIC,
    TRACEFS_MAGIC,
    BPF_FS_MAGIC,
    SECURITYFS_MAGIC,
    PSTOREFS_MAGIC,
    EFIVARFS_MAGIC,
    BINFMTFS_MAGIC,
    SELINUX_MAGIC,
    SMACK_MAGIC,
    RDTGROUP_SUPER_MAGIC,
    abi::configfs_magic,
    abi::fuse_connections_magic,
});

// What a server may only read it must not get for writing here, nor a terminal or a disk's driver.
bool may_be_an_image(int fd) {
    struct stat file{};
    struct statfs system{};
    if (::fstat(fd, &file) != 0 || ::fstatfs(fd, &system) != 0) return false;
    if (S_ISBLK(file.st_mode)) return true;
    const auto type = static_cast<u32>(system.f_type);
    return S_ISREG(file.st_mode) &&
           std::ranges::find(kernel_file_systems, type) == kernel_file_systems.end();
}

UniqueFd open_as_asked(const cgroup::MessageFds& fds, u64 flags, Reply& reply) {
    if (fds.count != 1 || (flags & ~u64{flags_allowed}) != 0) {
        reply.number = EINVAL;
        return {};
    }
    if (!may_be_an_image(fds.fds[0].get())) {
        reply.number = EPERM;
        return {};
    }
    UniqueFd opened = backing::reopen(fds.fds[0].get(), static_cast<int>(flags));
    if (!opened) reply.number = errno;
    return opened;
}

void tell(const Status& status, Reply& reply, std::string& text) {
    if (status) return;
    reply.number = status.error().number;
    text = status.error().message;
}

std::unexpected<Error> dead() {
    return fail(EPIPE,
                "the process that opens images again has died; ringloop upgrade starts another");
}

// The server is not one of them: it is this process's parent.
std::string holders_text(const std::string& device, Holding holding) {
    std::string text;
    for (const std::string& line : holders_of(device, holding, ::getppid())) {
        if (text.size() + line.size() + 1 > text_bytes_max) break;
        text += line + "\n";
    }
    return text;
}

// False: nobody is there any more.
bool serve_one(int socket, const std::string& device) {
    Request request;
    cgroup::MessageFds fds;
    const auto body = std::as_writable_bytes(std::span(&request, 1));
    const i32 received = cgroup::receive_message(socket, body, fds, 0);
    if (received == -EINTR) return true;
    if (received != sizeof request) return false;
    Reply reply;
    std::string text;
    UniqueFd opened;
    switch (request.what) {
        case What::open_again: opened = open_as_asked(fds, request.value, reply); break;
        case What::holders: text = holders_text(device, static_cast<Holding>(request.value)); break;
        case What::flush:
            if (!flush_disk_in_child(device, Deadline(request.value))) reply.number = EIO;
            break;
        case What::set_read_only:
            tell(set_read_only(device, request.value != 0), reply, text);
            break;
        default: reply.number = EINVAL;
    }
    const std::size_t length = std::min(text.size(), reply.text.size());
    std::memcpy(reply.text.data(), text.data(), length);
    const int fd = opened.get();
    const auto answer = std::as_bytes(std::span(&reply, 1)).first(Reply::head_bytes + length);
    return cgroup::send_message(socket, answer, std::span(&fd, opened ? 1 : 0), 0) >= 0;
}

// In ps, and for pidof, which would take it for a second server. The words that follow the
// program's name are not read any more: there is room.
void call_it_opener() {
    constexpr std::string_view name = "ringloop-opener";
    ::prctl(PR_SET_NAME, name.data());
    std::memcpy(program_invocation_name, name.data(), name.size() + 1);
}

// In the child. Nothing of the server's stays open: not its image, nor a client.
[[noreturn]] void run(int socket, pid_t server, const std::string& device) noexcept {
    ::prctl(PR_SET_PDEATHSIG, SIGKILL);
    if (::getppid() != server) ::_exit(0);
    call_it_opener();
    ::setsid();  // Ctrl-C is for the server
    for (const int signal : {SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGPIPE}) ::signal(signal, SIG_IGN);
    sigset_t none;
    sigemptyset(&none);
    ::sigprocmask(SIG_SETMASK, &none, nullptr);
    const int null = ::open("/dev/null", O_RDWR);
    for (int fd = STDIN_FILENO; fd <= STDERR_FILENO; ++fd) ::dup2(null, fd);
    constexpr int kept = STDERR_FILENO + 1;
    if (socket != kept) ::dup3(socket, kept, O_CLOEXEC);
    ::close_range(kept + 1, ~0U, 0);
    while (serve_one(kept, device)) {
    }
    ::_exit(0);
}

}  // namespace

struct Opener::Answer {
    std::string text;
    UniqueFd file;
};

Result<std::unique_ptr<Opener>> Opener::start(const std::string& device) {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
        return fail_errno(errno, "no sockets for the process that opens images again");
    }
    UniqueFd ours(ends[0]);
    const UniqueFd theirs(ends[1]);
    const pid_t server = ::getpid();
    const pid_t pid = ::fork();
    if (pid < 0) return fail_errno(errno, "cannot start the process that opens images again");
    if (pid == 0) run(theirs.get(), server, device);
    UniqueFd process(cgroup::pidfd_open(pid));
    if (!process) {
        const int number = errno;
        ::kill(pid, SIGKILL);
        ::waitpid(pid, nullptr, 0);
        return fail_errno(number, "cannot watch the process that opens images again");
    }
    std::unique_ptr<Opener> opener(new Opener(pid, std::move(process), std::move(ours)));
    opener_of_server = opener.get();
    backing::reopen_by(opener.get());
    return opener;
}

Opener::~Opener() {
    backing::reopen_by(nullptr);
    opener_of_server = nullptr;
    socket_.reset();
    if (!cgroup::pidfd_ends_within(process_.get(), end_timeout_ms)) {
        cgroup::pidfd_kill(process_.get());
        cgroup::pidfd_ends_within(process_.get(), end_timeout_ms);
    }
    ::waitpid(pid_, nullptr, WNOHANG);
}

Status Opener::health() const {
    if (cgroup::pidfd_ends_within(process_.get(), 0)) return dead();
    return {};
}

Result<Opener::Answer> Opener::ask(u32 what, u64 value, int fd) {
    const std::lock_guard lock(mutex_);
    const Request request{.what = static_cast<What>(what), .value = value};
    const auto body = std::as_bytes(std::span(&request, 1));
    i32 sent = 0;
    do {
        sent = cgroup::send_message(socket_.get(), body, std::span(&fd, fd >= 0 ? 1 : 0), 0);
    } while (sent == -EINTR);
    if (sent < 0) return dead();
    Reply reply;
    cgroup::MessageFds fds;
    i32 received = 0;
    do {
        received = cgroup::receive_message(socket_.get(),
                                           std::as_writable_bytes(std::span(&reply, 1)), fds, 0);
    } while (received == -EINTR);
    if (received < static_cast<i32>(Reply::head_bytes)) return dead();
    std::string text(reply.text.data(), static_cast<std::size_t>(received) - Reply::head_bytes);
    if (reply.number != 0) return std::unexpected(Error{reply.number, std::move(text)});
    return Answer{std::move(text), std::move(fds.fds[0])};
}

UniqueFd Opener::open_again(int fd, int flags) {
    auto answer = ask(static_cast<u32>(What::open_again), static_cast<u32>(flags), fd);
    if (answer && answer->file) return std::move(answer->file);
    errno = answer ? EMFILE : answer.error().number;
    return {};
}

Result<std::vector<std::string>> Opener::holders(Holding holding) {
    const auto answer = ask(static_cast<u32>(What::holders), static_cast<u64>(holding));
    if (!answer) return std::unexpected(answer.error());
    std::vector<std::string> lines;
    std::string_view text = answer->text;
    for (auto end = text.find('\n'); end != std::string_view::npos; end = text.find('\n')) {
        lines.emplace_back(text.substr(0, end));
        text.remove_prefix(end + 1);
    }
    return lines;
}

bool Opener::flush_disk(u64 timeout_ms) {
    return ask(static_cast<u32>(What::flush), timeout_ms).has_value();
}

Status Opener::set_read_only(bool read_only) {
    const auto answer = ask(static_cast<u32>(What::set_read_only), read_only ? 1 : 0);
    if (!answer) return std::unexpected(answer.error());
    return {};
}

Status opener_health() { return opener_of_server ? opener_of_server->health() : Status(); }

std::vector<std::string> holders_seen(const std::string& device, Holding holding) {
    if (!opener_of_server) return holders_of(device, holding);
    auto holders = opener_of_server->holders(holding);
    if (!holders) return {"perhaps by somebody: " + holders.error().message};
    return std::move(*holders);
}

bool flush_disk_seen(const std::string& device, u64 timeout_ms) {
    return opener_of_server ? opener_of_server->flush_disk(timeout_ms)
                            : flush_disk_in_child(device, Deadline(timeout_ms));
}

Status set_read_only_seen(const std::string& device, bool read_only) {
    return opener_of_server ? opener_of_server->set_read_only(read_only)
                            : set_read_only(device, read_only);
}

}  // namespace ringloop::control
