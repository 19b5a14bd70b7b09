#include "engine/buffers.h"

#include <sys/mman.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "base/assert.h"

namespace ringloop::engine {
namespace {

u64 whole_pages(u64 length) { return align_up(length, page_bytes()); }

// Pages come one by one as they are used, so an idle device has none; a huge page would give a tag
// of 4 KiB two megabytes. Nobody else sees them: no forked process needs a copy.
std::byte* map_private(u64 length) {
    void* address = ::mmap(nullptr, length, PROT_READ | PROT_WRITE,
                           MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (address == MAP_FAILED) return nullptr;
    static_cast<void>(::madvise(address, length, MADV_NOHUGEPAGE));
    static_cast<void>(::madvise(address, length, MADV_DONTFORK));
    return static_cast<std::byte*>(address);
}

}  // namespace

BufferPiece& BufferPiece::operator=(BufferPiece&& other) noexcept {
    if (this == &other) return *this;
    reset();
    owner_ = std::exchange(other.owner_, nullptr);
    data_ = std::exchange(other.data_, nullptr);
    length_ = std::exchange(other.length_, 0);
    return *this;
}

void BufferPiece::reset() {
    if (data_) owner_->give_back(data_, length_);
    owner_ = nullptr;
    data_ = nullptr;
    length_ = 0;
}

Buffers::~Buffers() {
    ASSERT(!shared() || (free_.size() == 1 && free_.front().length == memory_.length()));
}

Status Buffers::share(u64 length) {
    ASSERT(!shared());
    auto memory = SharedMemory::create(length);
    if (!memory) return std::unexpected(std::move(memory).error());
    memory_ = std::move(*memory);
    free_ = {{0, memory_.length()}};
    return {};
}

BufferPiece Buffers::take(u64 length) {
    length = whole_pages(length);
    if (!shared()) {
        std::byte* data = map_private(length);
        return data ? BufferPiece(*this, data, length) : BufferPiece();
    }
    const std::lock_guard lock(mutex_);
    const auto found = std::ranges::find_if(
        free_, [length](const ByteRange& range) { return range.length >= length; });
    if (found == free_.end()) return {};
    std::byte* data = memory_.data() + found->offset;
    found->offset += length;
    found->length -= length;
    if (found->length == 0) free_.erase(found);
    return {*this, data, length};
}

void Buffers::touch(std::byte* data, u64 length) {
    constexpr int populate_write = 23;  // MADV_POPULATE_WRITE, Linux 5.14
    const u64 page = whole_pages(1);
    const u64 begin = align_down(reinterpret_cast<u64>(data), page);
    const u64 end = whole_pages(reinterpret_cast<u64>(data) + length);
    static_cast<void>(::madvise(reinterpret_cast<void*>(begin), end - begin, populate_write));
}

void Buffers::give_back(std::byte* data, u64 length) {
    if (!shared()) {
        ::munmap(data, length);
        return;
    }
    const ByteRange range = {static_cast<u64>(data - memory_.data()), length};
    memory_.forget(range.offset, range.length);
    const std::lock_guard lock(mutex_);
    auto next = std::ranges::lower_bound(free_, range.offset, {}, &ByteRange::offset);
    next = free_.insert(next, range);
    const auto join = [this](auto left, auto right) {
        if (left->end() != right->offset) return right;
        left->length += right->length;
        return std::prev(free_.erase(right));
    };
    if (next != free_.begin()) next = join(std::prev(next), next);
    if (std::next(next) != free_.end()) join(next, std::next(next));
}

}  // namespace ringloop::engine
