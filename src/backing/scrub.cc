#include "backing/scrub.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>

#include "base/vectors.h"

namespace ringloop::backing {
namespace {

using Bytes = std::span<std::byte>;

struct FreeLater {
    void operator()(std::byte* memory) const { std::free(memory); }
};
using Buffer = std::unique_ptr<std::byte, FreeLater>;

// Aligned for any sector size that there is.
Result<Buffer> make_buffer() {
    Buffer buffer(static_cast<std::byte*>(std::aligned_alloc(scrub_unit_bytes, scrub_bytes)));
    if (!buffer) return fail(ENOMEM, "no memory for a buffer of {} bytes; free some", scrub_bytes);
    return buffer;
}

// One image as it is read: directly if it can be, and by the page cache where it cannot.
class Reader {
public:
    explicit Reader(const Image& image)
        : direct_(reopen(image.fd.get(), O_RDONLY | O_DIRECT)), buffered_(image.fd.get()) {
        // What a read of the page cache would find there says nothing about the disk.
        if (!direct_) ::posix_fadvise(buffered_, 0, 0, POSIX_FADV_DONTNEED);
    }

    // All of `bytes`, or an errno.
    int read(Bytes bytes, u64 offset) const {
        const bool aligned = offset % scrub_unit_bytes == 0 && bytes.size() % scrub_unit_bytes == 0;
        if (!direct_ || !aligned) return read_by(buffered_, bytes, offset);
        const int number = read_by(direct_.get(), bytes, offset);
        return number == EINVAL ? read_by(buffered_, bytes, offset) : number;
    }

private:
    static int read_by(int fd, Bytes bytes, u64 offset) {
        while (!bytes.empty()) {
            const ssize_t got = ::pread(fd, bytes.data(), bytes.size(), static_cast<off_t>(offset));
            if (got < 0 && errno == EINTR) continue;
            if (got < 0) return errno;
            if (got == 0) return EIO;  // cut short since it was looked at
            bytes = bytes.subspan(static_cast<std::size_t>(got));
            offset += static_cast<u64>(got);
        }
        return 0;
    }

    UniqueFd direct_;
    int buffered_;
};

// The next range with data at or behind `offset`, cut to `end`; empty at the end. A filesystem that
// does not tell (ENOTTY, EINVAL: block devices, too) has data everywhere.
ByteRange next_data(int fd, u64 offset, u64 end) {
    const off_t data = ::lseek(fd, static_cast<off_t>(offset), SEEK_DATA);
    if (data < 0) return errno == ENXIO ? ByteRange{end, 0} : ByteRange{offset, end - offset};
    const u64 begin = std::min(static_cast<u64>(data), end);
    const off_t hole = ::lseek(fd, data, SEEK_HOLE);
    const u64 stop = hole < 0 ? end : std::min(static_cast<u64>(hole), end);
    return {begin, stop - std::min(begin, stop)};
}

class Scrubber {
public:
    Scrubber(const Image& image, const Image* other, u64 ahead, Buffer mine, Buffer others)
        : reader_(image), ahead_(ahead), mine_(std::move(mine)), others_(std::move(others)) {
        if (other) other_.emplace(*other);
    }

    void take(ByteRange range) {
        const Bytes mine(mine_.get(), range.length);
        result_.read_bytes += range.length;
        if (reader_.read(mine, range.offset) != 0) return narrow(range, result_.unreadable);
        if (!other_) return;
        const Bytes others(others_.get(), range.length);
        // What the other one cannot give is not the same.
        if (other_->read(others, range.offset + ahead_) != 0) {
            return narrow(range, result_.different);
        }
        if (std::memcmp(mine.data(), others.data(), range.length) == 0) return;
        compare(range, mine, others);
    }

    Scrubbed result() { return std::move(result_); }

private:
    // A disk answers with an error for all of what it was asked, if one sector of it is bad.
    void narrow(ByteRange range, BadRanges& bad) {
        if (range.length <= scrub_unit_bytes) return add_bad(bad, range);
        const u64 read_before = result_.read_bytes;
        for (u64 done = 0; done < range.length; done += scrub_unit_bytes) {
            take({range.offset + done, std::min(scrub_unit_bytes, range.length - done)});
        }
        result_.read_bytes = read_before;
    }

    void compare(ByteRange range, Bytes mine, Bytes others) {
        for (u64 done = 0; done < range.length; done += scrub_unit_bytes) {
            const u64 length = std::min(scrub_unit_bytes, range.length - done);
            if (std::memcmp(mine.data() + done, others.data() + done, length) == 0) continue;
            add_bad(result_.different, {range.offset + done, length});
        }
    }

    Reader reader_;
    std::optional<Reader> other_;
    u64 ahead_;  // of the other one's offsets; wraps where they are behind
    Buffer mine_;
    Buffer others_;
    Scrubbed result_;
};

}  // namespace

void add_bad(BadRanges& bad, ByteRange range) {
    bad.bytes += range.length;
    if (!bad.ranges.empty() && bad.ranges.back().end() == range.offset) {
        bad.ranges.back().length += range.length;
    } else if (bad.ranges.size() < scrub_ranges_max) {
        bad.ranges.push_back(range);
    }
}

Result<Scrubbed> scrub(const Image& image, ByteRange range, const Image* other, u64 other_offset,
                       const OnProgress& progress) {
    auto mine = make_buffer();
    if (!mine) return std::unexpected(mine.error());
    auto others = make_buffer();
    if (!others) return std::unexpected(others.error());
    Scrubber scrubber(image, other, other_offset - range.offset, std::move(*mine),
                      std::move(*others));
    u64 offset = range.offset;
    while (offset < range.end()) {
        ByteRange data{offset, range.end() - offset};
        if (!other) data = next_data(image.fd.get(), offset, range.end());
        offset = data.offset;
        while (offset < data.end()) {
            // To the next multiple: what follows is aligned then, whatever the first offset was.
            const u64 length = std::min(scrub_bytes - offset % scrub_bytes, data.end() - offset);
            scrubber.take({offset, length});
            offset += length;
            if (progress) progress(offset - range.offset);
        }
    }
    return scrubber.result();
}

}  // namespace ringloop::backing
