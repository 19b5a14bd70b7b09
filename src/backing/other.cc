// Another image in place of one that is in use, or the same one opened in another way.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "backing/backing.h"
#include "backing/image.h"
#include "backing/image_lock.h"
#include "base/log.h"

namespace ringloop::backing {
namespace {

void exchange_flags(std::atomic<bool>& one, std::atomic<bool>& other) {
    other.store(one.exchange(other.load(std::memory_order_relaxed), std::memory_order_relaxed),
                std::memory_order_relaxed);
}

}  // namespace

Result<Handle> Backing::open_handle_of(int fd, io::Kernel& kernel) {
    const int flags = fcntl(fd, F_GETFL) & O_ACCMODE;
    Handle handle;
    handle.buffered_fd = ringloop::backing::reopen(fd, flags);
    if (!handle.buffered_fd) {
        return fail(errno, "the image cannot be opened again: {}", reopen_error(errno));
    }
    handle.direct_fd = ringloop::backing::reopen(fd, flags | O_DIRECT);
    TRY(register_files(kernel, handle));
    return handle;
}

Status Backing::take_lock() {
    return lock_image(lock_fd_.get(), {offset_, sizelimit_}, geometry_.read_only);
}

void Backing::lock_again() {
    if (!lock_fd_) return;
    // Nobody else had it but for a moment, and there is nothing better to do.
    if (const Status locked = take_lock(); !locked) {
        log::warning("{}: {}", path_, locked.error().message);
    }
}

Status Backing::claim_for(u64 sizelimit_bytes) {
    const bool shrinks = sizelimit_bytes != 0 && (sizelimit_ == 0 || sizelimit_bytes < sizelimit_);
    if (!lock_fd_ || shrinks) return {};
    const Status locked =
        lock_image(lock_fd_.get(), {offset_, sizelimit_bytes}, geometry_.read_only);
    if (locked) return {};
    return fail(EBUSY, "{}: {}", path_, locked.error().message);
}

void Backing::limit_size(u64 sizelimit_bytes) {
    sizelimit_ = sizelimit_bytes;
    lock_again();
}

bool Backing::is_same_file(const Other& other) const {
    struct stat one{}, two{};
    if (other.path.empty()) return true;
    const bool found = other.looked_up_fd >= 0 ? ::fstat(other.looked_up_fd, &two) == 0
                                               : ::stat(other.path.c_str(), &two) == 0;
    return found && ::fstat(fd_.get(), &one) == 0 && one.st_dev == two.st_dev &&
           one.st_ino == two.st_ino;
}

Result<std::unique_ptr<Backing>> Backing::open_other(const Other& other) {
    const bool same_image = other.path.empty();
    const bool same_file = is_same_file(other);
    auto opened = open({.path = same_image ? path_ : other.path,
                        .looked_up_fd = same_image ? fd_.get() : other.looked_up_fd,
                        .offset_bytes = offset_,
                        .sizelimit_bytes = sizelimit_,
                        .read_only = other.read_only,
                        .direct_io = other.direct_io,
                        .sector_size_bytes = geometry_.sector_size,
                        .byte_granular = told_.byte_granular,
                        .lock = lock_fd_ && !same_file});
    if (!opened) return opened;
    Backing& next = **opened;
    // Coarser than its own is what users keep to already.
    next.geometry_.size = align_down(next.geometry_.size, told_.request_alignment);
    next.geometry_.request_alignment = told_.request_alignment;
    next.size_now_ = next.geometry_.size;
    TRY(check_other(next, same_image));
    // An image that was not resized with the device, or was cut short, is another matter.
    next.size_now_ = size_now();
    if (!lock_fd_ || !same_file) return opened;
    // Two descriptions cannot hold it, and one that was opened to read cannot lock for writing.
    next.lock_fd_ = reopen(next.fd_.get(), other.read_only ? O_RDONLY : O_RDWR);
    unlock_image(lock_fd_.get());
    if (Status locked = next.take_lock(); !locked) {
        lock_again();
        return fail(EBUSY, "{}: {}", path_, locked.error().message);
    }
    return opened;
}

Backing::Presence Backing::presence() const {
    struct stat found = {};
    if (!fd_ || fstat(fd_.get(), &found) != 0 || !S_ISREG(found.st_mode)) return {};
    const u64 wanted = offset_ + size_now();
    const u64 bytes = static_cast<u64>(found.st_size);
    return {found.st_nlink == 0, wanted - std::min(bytes, wanted)};
}

Status Backing::check_other(const Backing& other, bool same_image) const {
    const std::string name = printable(other.path_);
    if (!same_image && other.size_now() != size_now()) {
        return fail(EINVAL,
                    "{}: makes a device of {} bytes, and this one has {}; use an image of the same "
                    "size",
                    name, other.size_now(), size_now());
    }
    if (other.geometry_.direct && !is_aligned(told_.request_alignment, other.direct_alignment_)) {
        return fail(EINVAL,
                    "{}: direct I/O needs requests of whole blocks of {} bytes, and users of this "
                    "device were told that they may begin and end at {}; leave it buffered, or "
                    "detach it and attach the image with --direct-io",
                    name, other.direct_alignment_,
                    told_.request_alignment == 1
                        ? "any byte"
                        : fmt::format("any multiple of {}", told_.request_alignment));
    }
    if (!other.geometry_.read_only && told_.discard && !other.geometry_.discard) {
        return fail(EOPNOTSUPP,
                    "{}: takes no discards, and users of this device were told that it does; use "
                    "an image on a file system that can punch holes",
                    name);
    }
    return {};
}

void Backing::exchange(Backing& other) {
    std::swap(path_, other.path_);
    std::swap(geometry_, other.geometry_);
    std::swap(fd_, other.fd_);
    std::swap(lock_fd_, other.lock_fd_);
    std::swap(offset_, other.offset_);
    std::swap(sizelimit_, other.sizelimit_);
    std::swap(regular_file_, other.regular_file_);
    std::swap(direct_alignment_, other.direct_alignment_);
    const u64 size = size_now();
    resize(other.size_now());
    other.resize(size);
    exchange_flags(direct_now_, other.direct_now_);
    exchange_flags(discard_command_, other.discard_command_);
    exchange_flags(punch_hole_, other.punch_hole_);
    exchange_flags(zero_range_, other.zero_range_);
}

}  // namespace ringloop::backing
