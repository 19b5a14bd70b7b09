#include "backing/preallocate.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>

#include <algorithm>
#include <cerrno>

#include "base/size.h"

namespace ringloop::backing {
namespace {

// A filesystem that writes zeros takes about a second for it.
constexpr u64 step_bytes = u64{256} << 20;

u64 occupied_bytes(int fd) {
    struct stat found = {};
    return fstat(fd, &found) == 0 ? static_cast<u64>(found.st_blocks) * 512 : 0;
}

std::unexpected<Error> is_full(const std::string& name, u64 missing_bytes, u64 free_bytes) {
    return fail(ENOSPC,
                "{}: its filesystem has {} free of {} that are needed; make room, or attach it "
                "without --preallocate",
                name, format_size(free_bytes), format_size(missing_bytes));
}

u64 free_bytes_below(int fd) {
    struct statvfs filesystem = {};
    if (fstatvfs(fd, &filesystem) != 0) return 0;
    return static_cast<u64>(filesystem.f_bavail) * filesystem.f_frsize;
}

// What the range lacks at the least, whatever of the file lies outside of it.
u64 missing_bytes(int fd, ByteRange range) {
    const u64 occupied = occupied_bytes(fd);
    return range.length - std::min(range.length, occupied);
}

std::unexpected<Error> failed(int number, const std::string& name, int fd, ByteRange rest) {
    switch (number) {
        case EOPNOTSUPP:
            return fail(number,
                        "{}: its filesystem cannot set blocks aside (fallocate); write the file "
                        "with dd, or attach it without --preallocate",
                        name);
        case ENOSPC:
        case EDQUOT: return is_full(name, rest.length, free_bytes_below(fd));
        default:
            return fail_errno(number, "{}: blocks for bytes {} to {} cannot be allocated", name,
                              rest.offset, rest.end());
    }
}

}  // namespace

Result<Preallocated> preallocate(const Image& image, ByteRange range, const OnProgress& progress) {
    if (image.block_device) return Preallocated{};
    const int fd = image.fd.get();
    const std::string name = printable(image.path);
    const u64 before = occupied_bytes(fd);
    const u64 missing = missing_bytes(fd, range);
    const u64 available = free_bytes_below(fd);
    if (missing > available) return is_full(name, missing, available);

    u64 done = 0;
    while (done < range.length) {
        const u64 length = std::min(step_bytes, range.length - done);
        const auto offset = static_cast<off_t>(range.offset + done);
        if (fallocate(fd, FALLOC_FL_KEEP_SIZE, offset, static_cast<off_t>(length)) != 0) {
            if (errno == EINTR) continue;
            return failed(errno, name, fd, {range.offset + done, range.length - done});
        }
        done += length;
        if (progress) progress(done);
    }
    const u64 after = occupied_bytes(fd);
    return Preallocated{.new_bytes = after - std::min(after, before)};
}

}  // namespace ringloop::backing
