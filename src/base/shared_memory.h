// Memory that processes forked later share, at the same addresses.
#pragma once

#include "base/result.h"
#include "base/unique_fd.h"

namespace ringloop {

class SharedMemory {
public:
    // `length` bytes of zeroes, rounded up to pages. They take memory as they are used.
    static Result<SharedMemory> create(u64 length);
    SharedMemory() = default;
    SharedMemory(SharedMemory&& other) noexcept { *this = std::move(other); }
    SharedMemory& operator=(SharedMemory&& other) noexcept;
    ~SharedMemory() { unmap(); }

    std::byte* data() const { return data_; }
    u64 length() const { return length_; }
    explicit operator bool() const { return data_ != nullptr; }

    // Whole pages are zeroes again and take no memory, in every process. The process that created
    // it, any thread. Works on locked memory too, as MADV_REMOVE does not.
    void forget(u64 offset, u64 length) const;

private:
    void unmap();

    UniqueFd fd_;
    std::byte* data_ = nullptr;
    u64 length_ = 0;
};

// The bytes of a page.
u64 page_bytes();

}  // namespace ringloop
