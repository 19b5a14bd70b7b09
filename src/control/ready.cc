#include "control/ready.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/stat.h>

#include <string>

namespace ringloop::control {

Result<ReadyPipe> ReadyPipe::adopt(int fd) {
    struct stat status{};
    if (fd <= STDERR_FILENO || ::fstat(fd, &status) != 0 || !S_ISFIFO(status.st_mode)) {
        return fail(EBADF, "--ready-fd {}: not an inherited pipe", fd);
    }
    if (::fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) return fail_errno(errno, "--ready-fd {}", fd);
    ReadyPipe pipe;
    pipe.fd_.reset(fd);
    return pipe;
}

bool ReadyPipe::broken() const {
    if (!fd_) return false;
    pollfd poll_fd{fd_.get(), 0, 0};  // POLLERR is always asked for
    return ::poll(&poll_fd, 1, 0) == 1 && (poll_fd.revents & POLLERR) != 0;
}

Status ReadyPipe::tell(std::string_view line) {
    if (!fd_) return {};
    const UniqueFd fd = std::move(fd_);
    const std::string text = std::string(line) + "\n";
    // One write: a line is far below the 64 KiB that an empty pipe takes at once.
    if (::write(fd.get(), text.data(), text.size()) == static_cast<ssize_t>(text.size())) return {};
    return fail_errno(errno, "nobody waits for this device any more");
}

}  // namespace ringloop::control
