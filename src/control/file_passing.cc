#include "control/file_passing.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace ringloop::control {
namespace {

constexpr std::size_t batch_max = 128;  // SCM_MAX_FD is 253

union BatchMessage {
    cmsghdr header;
    std::array<char, CMSG_SPACE(batch_max * sizeof(int))> bytes;
};

Status wait_for(int socket, short events, const Deadline& deadline) {
    for (;;) {
        pollfd poll_fd{socket, events, 0};
        const int ready = ::poll(&poll_fd, 1, deadline.poll_timeout_ms());
        if (ready > 0) return {};
        if (ready == 0) {
            return fail(ETIMEDOUT, "the other server does not answer; see ringloop list");
        }
        if (errno != EINTR) return fail_errno(errno, "cannot wait for the other server");
    }
}

Status send_batch(int socket, std::span<const int> files) {
    char word = 'f';  // a packet of nothing would be the end of the connection
    iovec part = {&word, sizeof word};
    BatchMessage control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes.data();
    message.msg_controllen = CMSG_SPACE(files.size_bytes());
    control.header = {.cmsg_len = CMSG_LEN(files.size_bytes()),
                      .cmsg_level = SOL_SOCKET,
                      .cmsg_type = SCM_RIGHTS};
    std::memcpy(CMSG_DATA(&control.header), files.data(), files.size_bytes());
    if (::sendmsg(socket, &message, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0) return {};
    return fail_errno(errno, "cannot pass descriptors");
}

Status receive_batch(int socket, std::vector<UniqueFd>& files) {
    char word = 0;
    iovec part = {&word, sizeof word};
    BatchMessage control{};
    msghdr message{};
    message.msg_iov = &part;
    message.msg_iovlen = 1;
    message.msg_control = control.bytes.data();
    message.msg_controllen = control.bytes.size();
    const ssize_t length = ::recvmsg(socket, &message, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (length < 0) return fail_errno(errno, "cannot receive descriptors");
    const cmsghdr* header = CMSG_FIRSTHDR(&message);
    std::size_t count = 0;
    if (header && header->cmsg_level == SOL_SOCKET && header->cmsg_type == SCM_RIGHTS) {
        count = (header->cmsg_len - CMSG_LEN(0)) / sizeof(int);
    }
    for (std::size_t i = 0; i < count; ++i) {
        int number = -1;
        std::memcpy(&number, CMSG_DATA(header) + i * sizeof number, sizeof number);
        files.emplace_back(number);
    }
    if ((message.msg_flags & MSG_CTRUNC) != 0) {
        return fail(EMFILE, "too many descriptors for this process; raise its limit (ulimit -n)");
    }
    if (count > 0) return {};
    return fail(EPIPE, "the other server sends no descriptors; detach and attach");
}

}  // namespace

Status send_files(int socket, std::span<const int> files, const Deadline& deadline) {
    while (!files.empty()) {
        const auto batch = files.first(std::min(files.size(), batch_max));
        TRY(wait_for(socket, POLLOUT, deadline));
        const Status sent = send_batch(socket, batch);
        if (!sent && sent.error().number == EAGAIN) continue;
        if (!sent) return sent;
        files = files.subspan(batch.size());
    }
    return {};
}

Result<std::vector<UniqueFd>> receive_files(int socket, std::size_t count,
                                            const Deadline& deadline) {
    if (count > files_max) {
        return fail(EMFILE, "{} descriptors are too many; detach and attach", count);
    }
    std::vector<UniqueFd> files;
    while (files.size() < count) {
        TRY(wait_for(socket, POLLIN, deadline));
        TRY(receive_batch(socket, files));
    }
    if (files.size() == count) return files;
    return fail(EBADMSG, "the other server sends more descriptors than it said; detach and attach");
}

}  // namespace ringloop::control
