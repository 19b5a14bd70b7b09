#include "backing/backing.h"

#include <fcntl.h>
#include <linux/falloc.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <limits>

#include "backing/block_device.h"
#include "backing/direct_io.h"
#include "backing/filesystem.h"
#include "backing/geometry.h"
#include "backing/image.h"
#include "backing/image_lock.h"
#include "base/log.h"

namespace ringloop::backing {
namespace {

constexpr i32 punch_hole_mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
constexpr i32 zero_range_mode = FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE;

// Behind the end of the file there is nothing to lose; but the file counts as modified, so it is
// asked only where it is not known (Filesystem::punches_holes). ZERO_RANGE is not probed this way:
// with KEEP_SIZE it would allocate blocks there that stay.
bool accepts_punch_hole(const Image& image) {
    const u64 behind = align_up(image.size_bytes, 64 * kib);
    // No filesystem reaches that far; whether it can punch shows when it has to.
    if (behind > static_cast<u64>(std::numeric_limits<off_t>::max()) - 4096) return true;
    return fallocate(image.fd.get(), punch_hole_mode, static_cast<off_t>(behind), 4096) == 0;
}

std::unexpected<Error> about(const std::string& path, Error error) {
    return fail(error.number, "{}: {}", printable(path), error.message);
}

}  // namespace

Result<std::unique_ptr<Backing>> Backing::open(const Options& options) {
    Result<Image> image = open_image(options);
    if (!image) return std::unexpected(std::move(image).error());
    std::unique_ptr<Backing> backing(new Backing());
    if (options.lock) {
        const LockRange range = {options.offset_bytes, options.sizelimit_bytes};
        backing->lock_fd_ = reopen(image->fd.get(), image->read_only ? O_RDONLY : O_RDWR);
        const Status locked = lock_image(backing->lock_fd_.get(), range, image->read_only);
        if (!locked) return about(options.path, locked.error());
    }
    if (Status status = backing->measure(std::move(*image), options); !status) {
        return about(options.path, std::move(status).error());
    }
    return backing;
}

std::unique_ptr<Backing> Backing::simulate(Geometry geometry, u64 offset_bytes,
                                           u32 direct_alignment) {
    std::unique_ptr<Backing> backing(new Backing());
    backing->path_ = "simulated";
    backing->geometry_ = std::move(geometry);
    const Geometry& shape = backing->geometry_;
    backing->offset_ = offset_bytes;
    backing->regular_file_ = !shape.block_device;
    backing->direct_alignment_ = direct_alignment;
    backing->size_now_ = shape.size;
    backing->direct_now_ = shape.direct;
    backing->discard_command_ = shape.block_device && shape.discard;
    backing->punch_hole_ = backing->zero_range_ = shape.write_zeroes;
    return backing;
}

Status Backing::measure(Image image, const Options& options) {
    // Before the alignment is probed: that reads at the offset, which has to exist.
    TRY(fit_extent(image.size_bytes, options.offset_bytes, options.sizelimit_bytes, 1));
    DirectFacts direct = {.mode = options.direct_io,
                          .offset_bytes = options.offset_bytes,
                          .sector_size_bytes = options.sector_size_bytes,
                          .block_device = image.block_device,
                          .support = {}};
    const bool by_choice = options.byte_granular && options.direct_io == DirectIo::automatic;
    if (by_choice) direct.mode = DirectIo::off;
    if (direct.mode != DirectIo::off) {
        direct.support = probe_direct(image, options.offset_bytes);
    }
    Result<DirectDecision> decision = decide_direct(direct);
    if (!decision) return std::unexpected(std::move(decision).error());
    geometry_.request_alignment =
        options.byte_granular && !decision->direct ? 1 : decision->sector_size_bytes;
    const Result<backing::Extent> extent =
        fit_extent(image.size_bytes, options.offset_bytes, options.sizelimit_bytes,
                   geometry_.request_alignment);
    if (!extent) return std::unexpected(extent.error());
    if (by_choice) decision->reason = "its clients share this host's page cache";

    geometry_.size = extent->size_bytes;
    size_now_ = geometry_.size;
    geometry_.bytes_cut = extent->bytes_cut;
    geometry_.direct = decision->direct;
    geometry_.direct_reason = std::move(decision->reason);
    if (geometry_.direct) {
        geometry_.memory_alignment = direct.support.memory_alignment_bytes;
        direct_alignment_ = direct.support.offset_alignment_bytes;
    }
    const Filesystem filesystem = image.block_device ? Filesystem{} : probe_filesystem(image);
    const bool punches = !image.block_device && !image.read_only &&
                         (filesystem.punches_holes || accepts_punch_hole(image));
    const bool discard_command = image.block_device && kernel_has_discard_command();
    const QueueLimits limits = read_queue_limits(image.device);
    shape({.offset_bytes = options.offset_bytes,
           .sector_size_bytes = decision->sector_size_bytes,
           .io_block_bytes = image.io_block_bytes,
           .block_device = image.block_device,
           .read_only = image.read_only,
           .punch_hole = punches,
           .discard_command = discard_command,
           .limits = limits},
          geometry_);

    geometry_.filesystem = filesystem.name;
    geometry_.compressing = filesystem.compressing;
    geometry_.sparse = filesystem.sparse;
    direct_now_ = geometry_.direct;
    discard_command_ = geometry_.discard && discard_command && limits.discard_max_bytes > 0;
    // On a block device both are the kernel's zeroout, and without that worth nothing.
    punch_hole_ = geometry_.write_zeroes;
    zero_range_ = geometry_.write_zeroes;
    offset_ = options.offset_bytes;
    sizelimit_ = options.sizelimit_bytes;
    regular_file_ = !image.block_device;
    path_ = std::move(image.path);
    fd_ = std::move(image.fd);
    told_ = {.byte_granular = options.byte_granular,
             .request_alignment = geometry_.request_alignment,
             .discard = geometry_.discard};
    return {};
}

Result<Handle> Backing::open_handle(io::Kernel& kernel) const {
    Result<Handle> handle = open_files();
    if (!handle) return handle;
    TRY(register_files(kernel, *handle));
    return handle;
}

Result<Handle> Backing::open_files() const {
    const int flags = geometry_.read_only ? O_RDONLY : O_RDWR;
    const auto reopen_failed = [this](int number) {
        return fail(number, "{}: cannot be opened again: {}", printable(path_),
                    reopen_error(number));
    };
    Handle handle;
    if (!fd_) {
        handle.buffered = {simulated_buffered, false};
        if (geometry_.direct) handle.direct = {simulated_direct, false};
        return handle;
    }
    handle.buffered_fd = reopen(fd_.get(), flags);
    if (!handle.buffered_fd) return reopen_failed(errno);
    if (!geometry_.direct) return handle;
    handle.direct_fd = reopen(fd_.get(), flags | O_DIRECT);
    if (!handle.direct_fd) return reopen_failed(errno);
    return handle;
}

Status Backing::register_files(io::Kernel& kernel, Handle& handle) {
    if (!handle.buffered_fd) return {};  // simulated
    const Result<io::FileRef> buffered = kernel.register_file(handle.buffered_fd.get());
    if (!buffered) return std::unexpected(buffered.error());
    handle.buffered = *buffered;
    if (!handle.direct_fd) return {};
    const Result<io::FileRef> direct = kernel.register_file(handle.direct_fd.get());
    if (!direct) {
        kernel.unregister_file(handle.buffered);
        return std::unexpected(direct.error());
    }
    handle.direct = *direct;
    return {};
}

void Backing::close_handle(io::Kernel& kernel, Handle& handle) {
    if (handle.buffered_fd) kernel.unregister_file(handle.buffered);
    if (handle.direct_fd) kernel.unregister_file(handle.direct);
    handle = {};
}

io::Operation Backing::operation(const Handle& handle, const Access& access) const {
    ASSERT(access.range.fits(size_now()));
    switch (access.kind) {
        case Access::Kind::read:
        case Access::Kind::write:
        case Access::Kind::write_durable: return transfer(handle, access);
        case Access::Kind::sync:
            // One description is enough, and it is always the buffered one. An error of writeback
            // is kept in the inode, and each description has its own mark of what it was told
            // (errseq_t), so this one learns of every failure since it was opened, whichever way
            // the bytes went; failed direct writes have told so themselves. The direct one may
            // miss some: a RWF_DSYNC on it moves its mark when it reports an older failure.
            // Nothing but a sync moves the mark of the buffered one.
            return {.code = io::Operation::Code::fdatasync, .file = handle.buffered};
        case Access::Kind::discard:
        case Access::Kind::zero_unmap:
        case Access::Kind::zero_keep: return deallocate(handle, access);
        case Access::Kind::prefetch:
            return {.code = io::Operation::Code::prefetch,
                    .file = handle.buffered,
                    .offset = offset_ + access.range.offset,
                    .length = access.range.length};
    }
    ASSERT(false);
}

bool Backing::goes_direct(const Access& access) const {
    // Always where it began: between durable_writes() and here another shard may have gone
    // buffered, and a buffered RWF_DSYNC would take an older failure away from the next sync.
    // The direct file refuses once more, and the access is built anew as a plain write.
    if (access.kind == Access::Kind::write_durable) return true;
    // The rest of a short transfer may begin or end anywhere.
    return direct_now() && is_aligned(offset_ + access.range.offset, direct_alignment_) &&
           is_aligned(access.range.length, direct_alignment_);
}

io::Operation Backing::transfer(const Handle& handle, const Access& access) const {
    using Code = io::Operation::Code;
    ASSERT(access.vector_count > 0);
    const bool direct = goes_direct(access);
    ASSERT(!direct || geometry_.direct);
    const bool reads = access.kind == Access::Kind::read;
    ASSERT(reads || !geometry_.read_only);
    io::Operation operation = {
        .file = direct ? handle.direct : handle.buffered,
        .offset = offset_ + access.range.offset,
        .length = access.range.length,
    };
    if (access.kind == Access::Kind::write_durable) operation.rw_flags = RWF_DSYNC;
    if (access.vector_count == 1) {
        ASSERT(access.vectors[0].iov_len == access.range.length);
        operation.code = reads ? Code::read : Code::write;
        operation.data = static_cast<std::byte*>(access.vectors[0].iov_base);
        operation.fixed_buffer = access.fixed_buffer;
        return operation;
    }
    operation.code = reads ? Code::readv : Code::writev;
    operation.vectors = access.vectors;
    operation.vector_count = access.vector_count;
    return operation;
}

io::Operation Backing::deallocate(const Handle& handle, const Access& access) const {
    using Code = io::Operation::Code;
    ASSERT(!geometry_.read_only);
    io::Operation operation = {
        .code = Code::fallocate,
        .file = handle.buffered,
        .offset = offset_ + access.range.offset,
        .length = access.range.length,
    };
    if (access.kind == Access::Kind::discard && discard_command_.load(std::memory_order_relaxed)) {
        operation.code = Code::discard;
        return operation;
    }
    // Blocks that may be given back may also be kept.
    const bool keep =
        access.kind == Access::Kind::zero_keep ||
        (access.kind == Access::Kind::zero_unmap && !punch_hole_.load(std::memory_order_relaxed));
    operation.mode = keep ? zero_range_mode : punch_hole_mode;
    return operation;
}

bool Backing::fall_back_to_buffered(const Handle& handle, const io::Operation& refused) const {
    if (!geometry_.direct || refused.file != handle.direct) return false;
    if (direct_now_.exchange(false, std::memory_order_relaxed)) {
        log::warning(
            "{}: direct I/O of {} bytes at {} was refused (EINVAL) although the file "
            "accepted it at attach; going on buffered",
            printable(path_), refused.length, refused.offset);
    }
    return true;
}

bool Backing::zero_supported(Access::Kind kind) const {
    const bool punch_hole = punch_hole_.load(std::memory_order_relaxed);
    const bool zero_range = zero_range_.load(std::memory_order_relaxed);
    switch (kind) {
        case Access::Kind::discard:
            return punch_hole || discard_command_.load(std::memory_order_relaxed);
        case Access::Kind::zero_unmap: return punch_hole || zero_range;
        case Access::Kind::zero_keep: return zero_range;
        case Access::Kind::read:
        case Access::Kind::write:
        case Access::Kind::write_durable:
        case Access::Kind::sync:
        case Access::Kind::prefetch: break;
    }
    ASSERT(false);  // a kind that every file supports
}

bool Backing::note_unsupported(Access::Kind kind, const io::Operation& refused) const {
    const bool command = refused.code == io::Operation::Code::discard;
    ASSERT(command || refused.code == io::Operation::Code::fallocate);
    const bool punch = !command && refused.mode == punch_hole_mode;
    std::atomic<bool>& way = command ? discard_command_ : punch ? punch_hole_ : zero_range_;
    if (way.exchange(false, std::memory_order_relaxed)) {
        log::info("{}: {} is not supported and will not be tried again", printable(path_),
                  command ? "the discard command"
                  : punch ? "punching holes"
                          : "zeroing a range");
    }
    return zero_supported(kind);
}

Backing::Extent Backing::extent_at(u64 offset) const {
    const u64 size = size_now();
    if (offset >= size) return {std::numeric_limits<u64>::max() - offset, false};
    const u64 left = size - offset;
    const auto at = static_cast<off_t>(offset_ + offset);
    // ENXIO: no data from here to the end of the file. Other errors: not seekable, so all data.
    const off_t data = lseek(fd_.get(), at, SEEK_DATA);
    if (data < 0) return {left, errno == ENXIO && regular_file_};
    if (data > at) return {std::min(left, static_cast<u64>(data - at)), regular_file_};
    const off_t hole = lseek(fd_.get(), at, SEEK_HOLE);
    if (hole <= at) return {left, false};
    return {std::min(left, static_cast<u64>(hole - at)), false};
}

Result<Backing::Measured> Backing::measure_again(std::optional<u64> sizelimit_bytes) const {
    const Result<u64> bytes = image_bytes(fd_.get(), printable(path_));
    if (!bytes) return std::unexpected(bytes.error());
    const u64 limit = sizelimit_bytes.value_or(sizelimit_);
    const u64 left = *bytes - std::min(offset_, *bytes);
    if (sizelimit_bytes && limit > left) {
        return fail(EINVAL,
                    "{}: has {} bytes{}, and a device of {} does not fit; make the image larger "
                    "with 'truncate -s SIZE FILE', or the device smaller",
                    printable(path_), left,
                    offset_ != 0 ? fmt::format(" behind offset {}", offset_) : "", limit);
    }
    const auto extent = fit_extent(*bytes, offset_, limit, geometry_.request_alignment);
    if (!extent) return about(path_, extent.error());
    return Measured{extent->size_bytes, extent->bytes_cut};
}

Status Backing::sync() const {
    if (geometry_.read_only) return {};
    for (;;) {
        if (fdatasync(fd_.get()) == 0) return {};
        if (errno == EINTR) continue;
        return fail_errno(errno,
                          "{}: what was written last may not be on stable storage; check "
                          "the file system under it",
                          printable(path_));
    }
}

}  // namespace ringloop::backing
