// The Kernel that is one: an io_uring. This folder alone includes liburing.
#pragma once

#include <memory>
#include <vector>

#include "io/kernel.h"

namespace ringloop::io {

class Uring final : public Kernel {
public:
    struct Options {
        u32 entries = 256;  // submission queue; what does not fit waits for the next pass
        u32 files_max = 8;  // registered files
        // It does what operation.h has and nothing else, for whoever uses it (restrictions.h).
        bool restricted = false;
    };

    // On the thread that will use it (IORING_SETUP_SINGLE_ISSUER). Where io_uring is disabled or
    // too old, the error says which setting to change.
    static Result<std::unique_ptr<Uring>> create(const Options& options);
    ~Uring() override;
    // Whether that could be had.
    bool restricted() const { return restricted_; }

    void submit(Completion& completion) override;
    void run_once(u64 wait_ns_max) override;
    u64 now_ns() const override { return now_ns_; }
    u64 syscalls() const override { return syscalls_; }
    Status limit_workers(u32 workers) override;
    void signal(i32 eventfd) override;
    Result<FileRef> register_file(i32 fd) override;
    void unregister_file(FileRef file) override;
    Status register_buffers(std::span<const iovec> buffers) override;

private:
    struct Ring;  // hides liburing's types from everything that includes this header

    explicit Uring(std::unique_ptr<Ring> ring);
    bool prepare(Completion& completion);
    bool prepare_poll(FileRef file);
    bool prepare_signal(i32 eventfd);
    void call(Completion& completion);
    i32 descriptor(FileRef file) const;
    void collect();
    void read_clock();

    std::unique_ptr<Ring> ring_;
    bool restricted_ = false;
    CompletionList waiting_;    // submitted, no room in the submission queue yet
    CompletionList calls_;      // submitted, to be made on this thread
    std::vector<i32> signals_;  // no room in the submission queue yet
    CompletionList ready_;      // completed, not called back yet
    u64 now_ns_ = 0;
    u64 syscalls_ = 0;
    // By registered number: the same file for calls on this thread; -1: the number is free.
    std::vector<i32> files_;
};

}  // namespace ringloop::io
