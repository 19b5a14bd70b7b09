#include "control/control_socket.h"

#include <poll.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/un.h>

#include <algorithm>
#include <array>
#include <cstring>
#include <span>
#include <utility>

namespace ringloop::control {
namespace {

Result<sockaddr_un> address_of(const std::string& path) {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.size() >= sizeof address.sun_path)
        return fail(
            ENAMETOOLONG,
            "{}: too long for a socket; use a shorter name, or a shorter RINGLOOP_RUNTIME_DIR",
            path);
    std::memcpy(address.sun_path, path.data(), path.size());
    return address;
}

UniqueFd seqpacket_socket() {
    return UniqueFd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
}

// Room for one descriptor, aligned as the kernel wants it.
union FileMessage {
    cmsghdr header;
    std::array<char, CMSG_SPACE(sizeof(int))> bytes;
};

// One packet; "" for the end of the connection, nullopt when it is too long or broken. The
// descriptor in it goes to `file`; of several the kernel keeps back what has no room.
std::optional<std::string> receive(int fd, u32 bytes_max, UniqueFd* file = nullptr) {
    std::string text(bytes_max, '\0');
    iovec part = {text.data(), text.size()};
    FileMessage control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes.data();
    message.msg_controllen = control.bytes.size();
    const ssize_t length = ::recvmsg(fd, &message, MSG_TRUNC | MSG_CMSG_CLOEXEC);
    if (length < 0) return std::nullopt;
    UniqueFd received;
    if (const cmsghdr* header = CMSG_FIRSTHDR(&message);
        header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS &&
        header->cmsg_len == CMSG_LEN(sizeof(int))) {
        int number = -1;
        std::memcpy(&number, CMSG_DATA(header), sizeof number);
        received.reset(number);
    }
    if (static_cast<std::size_t>(length) > text.size()) return std::nullopt;
    if (file) *file = std::move(received);
    text.resize(static_cast<std::size_t>(length));
    return text;
}

}  // namespace

Result<ControlSocket> ControlSocket::listen(const std::string& path) {
    auto address = address_of(path);
    if (!address) return std::unexpected(std::move(address).error());
    UniqueFd fd = seqpacket_socket();
    if (!fd) return fail_errno(errno, "no socket for ringloop's questions");
    ::unlink(path.c_str());
    // The mode of the socket file, from the start: a chmod afterwards would leave a gap.
    const mode_t mask = ::umask(0177);
    const int bound = ::bind(fd.get(), reinterpret_cast<sockaddr*>(&*address), sizeof *address);
    const int number = errno;
    ::umask(mask);
    if (bound != 0) return fail_errno(number, "cannot create the control socket {}", path);
    if (::listen(fd.get(), clients_max) != 0) return fail_errno(errno, "listen on {}", path);
    return ControlSocket(std::move(fd));
}

Result<std::optional<Question>> ControlSocket::next(int other_fd) {
    for (;;) {
        std::erase_if(clients_, [](const Client& client) { return client.deadline.passed(); });
        std::vector<pollfd> fds = {{other_fd, POLLIN, 0}, {fd_.get(), POLLIN, 0}};
        for (const Client& client : clients_) fds.push_back({client.fd.get(), POLLIN, 0});
        if (::poll(fds.data(), fds.size(), poll_timeout_ms()) < 0 && errno != EINTR) {
            return fail_errno(errno, "cannot wait at the control socket");
        }
        const bool other = fds[0].revents != 0;
        if (other && std::exchange(others_turn_, false)) return std::nullopt;
        others_turn_ = true;
        for (const pollfd& client : std::span(fds).subspan(2)) {
            if (client.revents == 0) continue;
            if (auto question = read_question(client.fd)) return question;
        }
        if (fds[1].revents != 0) accept_clients();
        if (other) return std::nullopt;
    }
}

void ControlSocket::accept_clients() {
    for (;;) {
        UniqueFd fd(::accept4(fd_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        if (!fd) return;
        if (clients_.size() == clients_max) clients_.erase(clients_.begin());
        clients_.push_back({std::move(fd), Deadline(question_timeout_ms)});
    }
}

// One packet is all that a client may say, so it leaves the list with it.
std::optional<Question> ControlSocket::read_question(int fd) {
    const auto client =
        std::ranges::find_if(clients_, [fd](const Client& known) { return known.fd.get() == fd; });
    UniqueFd owned = std::move(client->fd);
    clients_.erase(client);
    UniqueFd file;
    auto text = receive(fd, message_bytes_max, &file);
    if (!text || text->empty()) return std::nullopt;
    return Question{std::move(owned), std::move(*text), std::move(file)};
}

int ControlSocket::poll_timeout_ms() const {
    return clients_.empty() ? -1 : clients_.front().deadline.poll_timeout_ms();
}

void answer(const Question& question, std::string_view text) {
    ::send(question.client.get(), text.data(), text.size(), MSG_NOSIGNAL | MSG_DONTWAIT);
}

Result<Conversation> Conversation::connect(const std::string& path) {
    auto address = address_of(path);
    if (!address) return std::unexpected(std::move(address).error());
    UniqueFd fd = seqpacket_socket();
    if (!fd) return fail_errno(errno, "no socket for ringloop's questions");
    if (::connect(fd.get(), reinterpret_cast<sockaddr*>(&*address), sizeof *address) != 0) {
        return fail_errno(errno, "cannot reach the server (see ringloop list)");
    }
    ucred server{};
    socklen_t size = sizeof server;
    ::getsockopt(fd.get(), SOL_SOCKET, SO_PEERCRED, &server, &size);
    // Taken while the connection proves that the pid is still the server's.
    UniqueFd process(static_cast<int>(::syscall(SYS_pidfd_open, server.pid, 0)));
    return Conversation(std::move(fd), std::move(process));
}

Status Conversation::ask(std::string_view text, int fd) {
    iovec part = {const_cast<char*>(text.data()), text.size()};
    FileMessage control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    if (fd >= 0) {
        message.msg_control = control.bytes.data();
        message.msg_controllen = control.bytes.size();
        control.header = {
            .cmsg_len = CMSG_LEN(sizeof fd), .cmsg_level = SOL_SOCKET, .cmsg_type = SCM_RIGHTS};
        std::memcpy(CMSG_DATA(&control.header), &fd, sizeof fd);
    }
    if (::sendmsg(fd_.get(), &message, MSG_NOSIGNAL) < 0) {
        return fail_errno(errno, "cannot ask the server (see ringloop list)");
    }
    return {};
}

Result<std::optional<std::string>> Conversation::answer(const Deadline& deadline) const {
    for (;;) {
        pollfd poll_fd{fd_.get(), POLLIN, 0};
        const int ready = ::poll(&poll_fd, 1, deadline.poll_timeout_ms());
        if (ready < 0 && errno != EINTR)
            return fail_errno(errno, "cannot wait at the control socket");
        if (ready == 0)
            return fail(ETIMEDOUT, "the server does not answer; see that its image does");
        if (ready < 0) continue;
        auto text = receive(fd_.get(), answer_bytes_max);
        if (!text || text->empty()) return std::nullopt;
        return std::move(*text);
    }
}

bool Conversation::answered() const {
    pollfd poll_fd{fd_.get(), POLLIN, 0};
    return ::poll(&poll_fd, 1, 0) == 1;
}

bool Conversation::wait_for_exit(const Deadline& deadline) const {
    // Without a pidfd the process was gone before it could be opened.
    if (!process_) return true;
    for (;;) {
        pollfd poll_fd{process_.get(), POLLIN, 0};
        const int ready = ::poll(&poll_fd, 1, deadline.poll_timeout_ms());
        if (ready > 0) return true;
        if (ready == 0) return false;
    }
}

}  // namespace ringloop::control
