#include "backing/direct_io.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>

#include "backing/block_device.h"

namespace ringloop::backing {
namespace {

struct Free {
    void operator()(void* memory) const { std::free(memory); }
};

DirectSupport no_support(std::string obstacle) { return {.obstacle = std::move(obstacle)}; }

u32 logical_block_bytes(const Image& image) {
    int bytes = 0;
    if (image.block_device && ioctl(image.fd.get(), BLKSSZGET, &bytes) == 0 && bytes > 0) {
        return static_cast<u32>(bytes);
    }
    return read_queue_limits(image.device).logical_block_bytes;
}

// Reads one block of `bytes` around `offset`. 0, or the errno.
int try_direct_read(int fd, u64 offset, u32 bytes) {
    const std::size_t alignment = std::max<std::size_t>(bytes, sector_size_max_bytes);
    const std::unique_ptr<void, Free> buffer(std::aligned_alloc(alignment, alignment));
    if (!buffer) return ENOMEM;
    for (;;) {
        const auto start = static_cast<off_t>(align_down(offset, bytes));
        if (pread(fd, buffer.get(), bytes, start) >= 0) return 0;
        if (errno != EINTR) return errno;
    }
}

// Kernels before 6.1 and many file systems do not report an alignment: it is that of the device
// below, or 512, or, where that is refused, a page.
DirectSupport probe_unreported(const Image& image, int direct_fd, u64 offset) {
    const u32 below = logical_block_bytes(image);
    const u32 first =
        is_power_of_two(below) ? std::max(below, sector_size_min_bytes) : sector_size_min_bytes;
    int number = 0;
    for (const u32 bytes : {first, std::max(first, sector_size_max_bytes)}) {
        number = try_direct_read(direct_fd, offset, bytes);
        if (number == 0) return {bytes, bytes, {}};
        if (number != EINVAL) break;
    }
    return no_support(fmt::format("the file system accepts O_DIRECT but a direct read fails: {}",
                                  errno_text(number)));
}

}  // namespace

DirectSupport probe_direct(const Image& image, u64 offset_bytes) {
    struct statx found = {};
    const bool reported = statx(image.fd.get(), "", AT_EMPTY_PATH, STATX_DIOALIGN, &found) == 0 &&
                          (found.stx_mask & STATX_DIOALIGN) != 0;
    if (reported && !is_power_of_two(found.stx_dio_offset_align)) {
        return no_support("the file system has no direct I/O for this file");
    }
    const int flags = (image.read_only ? O_RDONLY : O_RDWR) | O_DIRECT;
    const UniqueFd direct_fd = reopen(image.fd.get(), flags);
    if (!direct_fd && errno == EINVAL) return no_support("the file system has no direct I/O");
    if (!direct_fd) {
        return no_support(fmt::format("opening it with O_DIRECT fails: {}", reopen_error(errno)));
    }
    if (!reported) return probe_unreported(image, direct_fd.get(), offset_bytes);

    const u32 offset_alignment = found.stx_dio_offset_align;
    const int number = try_direct_read(direct_fd.get(), offset_bytes, offset_alignment);
    if (number != 0) {
        return no_support(fmt::format(
            "the file system accepts O_DIRECT but a direct read fails: {}", errno_text(number)));
    }
    const u32 memory = found.stx_dio_mem_align;
    return {offset_alignment, is_power_of_two(memory) ? memory : offset_alignment, {}};
}

Result<DirectDecision> decide_direct(const DirectFacts& facts) {
    const u32 asked = facts.sector_size_bytes;
    if (asked != 0 && (!is_power_of_two(asked) || asked < sector_size_min_bytes ||
                       asked > sector_size_max_bytes)) {
        return fail(EINVAL, "sector size {} is not possible; use 512, 1024, 2048 or 4096", asked);
    }
    DirectDecision buffered = {false, asked != 0 ? asked : sector_size_min_bytes, {}};
    if (facts.mode == DirectIo::off) {
        buffered.reason = "--direct-io=off";
        return buffered;
    }

    const bool demanded = facts.mode == DirectIo::on;
    const u32 alignment = facts.support.offset_alignment_bytes;
    // A regular file's sectors stay at 512 by default whatever lies below: an image knows its
    // sector size (partition tables count in it). A block device's contents know the device's.
    u32 sector_size = buffered.sector_size_bytes;
    if (asked == 0 && (demanded || facts.block_device)) {
        sector_size = std::max(sector_size, alignment);
    }
    std::string way_out;
    if (alignment == 0) {
        buffered.reason = facts.support.obstacle;
        way_out = "use --direct-io=auto";
    } else if (!is_aligned(facts.offset_bytes, alignment)) {
        buffered.reason = fmt::format(
            "offset {} is not a multiple of {}, which direct I/O on this "
            "file needs",
            facts.offset_bytes, alignment);
        way_out = "use a multiple or --direct-io=auto";
    } else if (alignment > sector_size_max_bytes) {
        buffered.reason = fmt::format(
            "direct I/O on this file needs sectors of {} bytes, and {} "
            "is the most possible",
            alignment, sector_size_max_bytes);
        way_out = "use --direct-io=auto";
    } else if (sector_size < alignment) {
        buffered.reason = fmt::format("direct I/O on this file needs sectors of {} bytes, not {}",
                                      alignment, sector_size);
        way_out = fmt::format("use --sector-size={} or --direct-io=auto", alignment);
    } else {
        return DirectDecision{true, sector_size, {}};
    }
    if (demanded) return fail(EINVAL, "{}; {}", buffered.reason, way_out);
    return buffered;
}

}  // namespace ringloop::backing
