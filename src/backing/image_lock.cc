#include "backing/image_lock.h"

#include <fcntl.h>

#include <cerrno>

namespace ringloop::backing {

Status lock_image(int fd, LockRange range, bool read_only) {
    struct flock lock{};
    lock.l_type = read_only ? F_RDLCK : F_WRLCK;
    lock.l_whence = SEEK_SET;
    lock.l_start = static_cast<off_t>(range.offset_bytes);
    lock.l_len = static_cast<off_t>(range.length_bytes);
    if (::fcntl(fd, F_OFD_SETLK, &lock) == 0) return {};
    if (errno != EAGAIN && errno != EACCES) return {};
    return fail(EBUSY, "somebody else has this part of the image locked");
}

}  // namespace ringloop::backing
