#include "base/shared_memory.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "base/assert.h"
#include "base/range.h"

namespace ringloop {

u64 page_bytes() { return static_cast<u64>(::sysconf(_SC_PAGESIZE)); }

Result<SharedMemory> SharedMemory::create(u64 length) {
    SharedMemory memory;
    length = align_up(length, page_bytes());
    memory.fd_.reset(::memfd_create("ringloop", MFD_CLOEXEC));
    if (!memory.fd_ || ::ftruncate(memory.fd_.get(), static_cast<off_t>(length)) != 0) {
        return fail_errno(errno, "cannot create {} bytes of shared memory", length);
    }
    void* address = ::mmap(nullptr, length, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_NORESERVE,
                           memory.fd_.get(), 0);
    if (address == MAP_FAILED) return fail_errno(errno, "cannot map {} bytes", length);
    memory.data_ = static_cast<std::byte*>(address);
    memory.length_ = length;
    // For thrift: a huge page would give 4 KiB that are used two megabytes.
    static_cast<void>(::madvise(address, length, MADV_NOHUGEPAGE));
    return memory;
}

SharedMemory& SharedMemory::operator=(SharedMemory&& other) noexcept {
    if (this == &other) return *this;
    unmap();
    fd_ = std::move(other.fd_);
    data_ = std::exchange(other.data_, nullptr);
    length_ = std::exchange(other.length_, 0);
    return *this;
}

void SharedMemory::unmap() {
    if (data_) ::munmap(data_, length_);
    data_ = nullptr;
}

void SharedMemory::forget(u64 offset, u64 length) const {
    ASSERT(offset + length <= length_ && is_aligned(offset | length, page_bytes()));
    const int forgotten = ::fallocate(fd_.get(), FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE,
                                      static_cast<off_t>(offset), static_cast<off_t>(length));
    ASSERT(forgotten == 0);
}

}  // namespace ringloop
