// For tests: a backing that is open, and a kernel that does at once what an operation says.
#pragma once

#include <gtest/gtest.h>
#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/uio.h>

#include <array>
#include <cerrno>
#include <memory>
#include <string>

#include "backing/backing.h"
#include "backing/test_dir.h"

namespace ringloop::backing {

// Does at once what an operation on plain descriptors says; the result as a completion has it.
inline i64 perform(const io::Operation& operation) {
    using Code = io::Operation::Code;
    const int fd = operation.file.number;
    const auto offset = static_cast<off_t>(operation.offset);
    const auto flags = static_cast<int>(operation.rw_flags);
    const iovec single = {operation.data, operation.length};
    const bool many = operation.code == Code::readv || operation.code == Code::writev;
    const iovec* vectors = many ? operation.vectors : &single;
    const int count = many ? static_cast<int>(operation.vector_count) : 1;
    i64 result = -1;
    switch (operation.code) {
        case Code::read:
        case Code::readv: result = preadv2(fd, vectors, count, offset, flags); break;
        case Code::write:
        case Code::writev: result = pwritev2(fd, vectors, count, offset, flags); break;
        case Code::fdatasync: result = fdatasync(fd); break;
        case Code::fallocate:
            result = fallocate(fd, operation.mode, offset, static_cast<off_t>(operation.length));
            break;
        case Code::discard: {
            const u64 range[2] = {operation.offset, operation.length};
            result = ioctl(fd, BLKDISCARD, range);
            break;
        }
        case Code::prefetch:
            result = posix_fadvise(fd, offset, static_cast<off_t>(operation.length),
                                   POSIX_FADV_WILLNEED);
            break;
        case Code::command:
        case Code::accept:
        case Code::receive:
        case Code::send:
        case Code::timeout:
        case Code::hang_up:
        case Code::cancel: ADD_FAILURE() << "no operation of a backing"; break;
    }
    return result < 0 ? -errno : result;
}

// Knows files by their descriptors and runs nothing: perform does.
class DescriptorKernel final : public io::Kernel {
public:
    void submit(io::Completion&) override { ADD_FAILURE() << "a backing submits nothing"; }
    void run_once(u64) override {}
    u64 now_ns() const override { return 0; }
    u64 syscalls() const override { return 0; }
    Status limit_workers(u32) override { return {}; }
    void signal(i32) override {}
    Result<io::FileRef> register_file(i32 fd) override { return io::FileRef{fd, false}; }
    void unregister_file(io::FileRef) override {}
    Status register_buffers(std::span<const iovec>) override { return {}; }
};

// An open backing with the handle of one shard.
struct Opened {
    std::unique_ptr<Backing> backing;
    DescriptorKernel kernel;
    Handle handle;

    io::Operation operation(const Access& access) const {
        return backing->operation(handle, access);
    }
    io::Operation operation(Access::Kind kind, ByteRange range = {0, 4096}) const {
        return operation({.kind = kind, .range = range});
    }
    const Geometry& geometry() const { return backing->geometry(); }
};

inline std::unique_ptr<Opened> open_for_test(const Options& options) {
    auto opened = std::make_unique<Opened>();
    Result<std::unique_ptr<Backing>> backing = Backing::open(options);
    if (!backing) {
        ADD_FAILURE() << backing.error().message;
        return nullptr;
    }
    opened->backing = std::move(*backing);
    Result<Handle> handle = opened->backing->open_handle(opened->kernel);
    if (!handle) {
        ADD_FAILURE() << handle.error().message;
        return nullptr;
    }
    opened->handle = std::move(*handle);
    return opened;
}

// The message that refuses `options`.
inline std::string error_of(const Options& options) {
    Result<std::unique_ptr<Backing>> backing = Backing::open(options);
    return backing ? "it was opened" : backing.error().message;
}

// A page that direct I/O accepts anywhere.
struct Page {
    alignas(4096) std::array<std::byte, 4096> bytes{};
    explicit Page(int value = 0) { bytes.fill(std::byte(value)); }
    iovec vector() { return {bytes.data(), bytes.size()}; }
};

}  // namespace ringloop::backing
