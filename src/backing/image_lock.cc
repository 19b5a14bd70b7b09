#include "backing/image_lock.h"

#include <fcntl.h>

#include <cerrno>

namespace ringloop::backing {

namespace {

// False: errno tells why.
bool set_lock(int fd, short type, u64 offset_bytes, u64 length_bytes) {
    struct flock lock{};
    lock.l_type = type;
    lock.l_whence = SEEK_SET;
    lock.l_start = static_cast<off_t>(offset_bytes);
    lock.l_len = static_cast<off_t>(length_bytes);
    return ::fcntl(fd, F_OFD_SETLK, &lock) == 0;
}

}  // namespace

void unlock_image(int fd) { set_lock(fd, F_UNLCK, 0, 0); }

Status lock_image(int fd, LockRange range, bool read_only) {
    const auto [offset, length] = range;
    if (set_lock(fd, read_only ? F_RDLCK : F_WRLCK, offset, length)) {
        if (offset > 0) set_lock(fd, F_UNLCK, 0, offset);
        if (length > 0) set_lock(fd, F_UNLCK, offset + length, 0);
        return {};
    }
    if (errno != EAGAIN && errno != EACCES) return {};
    return fail(EBUSY, "somebody else has this part of the image locked; detach or end it there");
}

}  // namespace ringloop::backing
