// Memory for the data of requests. A device whose I/O is carried out by processes in other cgroups
// (cgroup/) needs all of it where those processes see it, and at the same addresses: one shared
// mapping, reserved before the first of them is forked, out of which everybody takes pieces.
#pragma once

#include <mutex>
#include <utility>
#include <vector>

#include "base/range.h"
#include "base/result.h"
#include "base/shared_memory.h"

namespace ringloop::engine {

class Buffers;

// A piece of it, page aligned; given back with its contents forgotten. Outlived by its Buffers.
class BufferPiece {
public:
    BufferPiece() = default;
    BufferPiece(BufferPiece&& other) noexcept { *this = std::move(other); }
    BufferPiece& operator=(BufferPiece&& other) noexcept;
    BufferPiece(const BufferPiece&) = delete;
    BufferPiece& operator=(const BufferPiece&) = delete;
    ~BufferPiece() { reset(); }

    std::byte* data() const { return data_; }
    u64 length() const { return length_; }
    explicit operator bool() const { return data_ != nullptr; }
    void reset();

private:
    friend class Buffers;
    BufferPiece(Buffers& owner, std::byte* data, u64 length)
        : owner_(&owner), data_(data), length_(length) {}

    Buffers* owner_ = nullptr;
    std::byte* data_ = nullptr;
    u64 length_ = 0;
};

class Buffers {
public:
    Buffers() = default;
    Buffers(const Buffers&) = delete;
    Buffers& operator=(const Buffers&) = delete;
    ~Buffers();

    // From now on pieces come from one shared mapping of `length` bytes; nothing was taken yet.
    // Only what is used costs memory. Control thread.
    Status share(u64 length);
    bool shared() const { return static_cast<bool>(memory_); }

    // `length` bytes, rounded up to pages; empty (false) when there is no room or no address space.
    // Pages come with their first use. Any thread; not on the path of a request.
    BufferPiece take(u64 length);

    // Gives `length` bytes of a piece their memory now. Shared memory is charged to the cgroup of
    // whoever touches it first, for as long as it is there: that must not be a lane, whose cgroup
    // may have little. Any thread; a system call. Fails silently: they come later then.
    static void touch(std::byte* data, u64 length);

private:
    friend class BufferPiece;
    void give_back(std::byte* data, u64 length);

    SharedMemory memory_;
    std::mutex mutex_;
    std::vector<ByteRange>
        free_;  // guarded by mutex_; in the order of their offsets, none adjacent
};

}  // namespace ringloop::engine
