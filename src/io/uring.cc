#include "io/uring.h"

#include <fcntl.h>
#include <liburing.h>
#include <poll.h>
#include <sys/socket.h>
#include <time.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/assert.h"
#include "io/refusal.h"
#include "io/restrictions.h"

namespace ringloop::io {
namespace {

constexpr u64 ns_per_s = 1'000'000'000;

// What is written to an eventfd, and how many of them may wait for room without an allocation.
constexpr u64 one_event = 1;
constexpr u32 signals_expected = 64;

// Until limit_workers says otherwise; the kernel's own default is four for each CPU.
constexpr u32 workers_at_start = 16;

// BLOCK_URING_CMD_DISCARD, Linux 6.12 (include/uapi/linux/blkdev.h): _IO(0x12, 0), the range in
// addr and addr3.
constexpr u32 block_discard_command = 0x1200;

void set_up(io_uring_sqe& sqe, u8 opcode, const Operation& operation, const void* address,
            u32 length) {
    sqe.opcode = opcode;
    sqe.fd = operation.file.number;
    sqe.off = operation.offset;
    sqe.addr = reinterpret_cast<u64>(address);
    sqe.len = length;
}

void encode_transfer(io_uring_sqe& sqe, const Operation& operation) {
    ASSERT(operation.length <= ~u32{0});
    const bool write = operation.code == Operation::Code::write;
    const bool fixed = operation.fixed_buffer >= 0;
    const u8 opcode = write ? (fixed ? IORING_OP_WRITE_FIXED : IORING_OP_WRITE)
                            : (fixed ? IORING_OP_READ_FIXED : IORING_OP_READ);
    set_up(sqe, opcode, operation, operation.data, static_cast<u32>(operation.length));
    if (fixed) sqe.buf_index = static_cast<u16>(operation.fixed_buffer);
    sqe.rw_flags = static_cast<__kernel_rwf_t>(operation.rw_flags);
}

void encode_vectored(io_uring_sqe& sqe, const Operation& operation) {
    const bool write = operation.code == Operation::Code::writev;
    set_up(sqe, write ? IORING_OP_WRITEV : IORING_OP_READV, operation, operation.vectors,
           operation.vector_count);
    sqe.rw_flags = static_cast<__kernel_rwf_t>(operation.rw_flags);
}

void encode_command(io_uring_sqe& sqe, const Operation& operation) {
    sqe.opcode = IORING_OP_URING_CMD;
    sqe.fd = operation.file.number;
    sqe.cmd_op = operation.command;
    std::memcpy(sqe.cmd, operation.payload.data(), sizeof operation.payload);
}

void encode_discard(io_uring_sqe& sqe, const Operation& operation) {
    sqe.opcode = IORING_OP_URING_CMD;
    sqe.fd = operation.file.number;
    sqe.cmd_op = block_discard_command;
    sqe.addr = operation.offset;
    sqe.addr3 = operation.length;
}

void encode_fallocate(io_uring_sqe& sqe, const Operation& operation) {
    sqe.opcode = IORING_OP_FALLOCATE;
    sqe.fd = operation.file.number;
    sqe.off = operation.offset;
    sqe.addr = operation.length;
    sqe.len = static_cast<u32>(operation.mode);
}

void encode_sync(io_uring_sqe& sqe, const Operation& operation) {
    sqe.opcode = IORING_OP_FSYNC;
    sqe.fd = operation.file.number;
    sqe.fsync_flags = IORING_FSYNC_DATASYNC;
}

void encode_prefetch(io_uring_sqe& sqe, const Operation& operation) {
    sqe.opcode = IORING_OP_FADVISE;
    sqe.fd = operation.file.number;
    sqe.off = operation.offset;
    // A longer prefetch is none: the page cache would not hold it.
    sqe.len = static_cast<u32>(std::min<u64>(operation.length, ~u32{0}));
    sqe.fadvise_advice = POSIX_FADV_WILLNEED;
}

void encode_accept(io_uring_sqe& sqe, const Operation& operation) {
    set_up(sqe, IORING_OP_ACCEPT, operation, nullptr, 0);
    sqe.off = 0;  // nobody asks for the address here
    sqe.accept_flags = SOCK_CLOEXEC;
}

void encode_receive(io_uring_sqe& sqe, const Operation& operation) {
    if (operation.message) {
        set_up(sqe, IORING_OP_RECVMSG, operation, operation.message, 1);
    } else {
        set_up(sqe, IORING_OP_RECV, operation, operation.data, static_cast<u32>(operation.length));
    }
    sqe.off = 0;
}

void encode_send(io_uring_sqe& sqe, const Operation& operation) {
    set_up(sqe, IORING_OP_SENDMSG, operation, operation.message, 1);
    sqe.off = 0;
    // The kernel goes on by itself where the socket buffer was full. No SIGPIPE (CVE-2015-0847).
    sqe.msg_flags = MSG_NOSIGNAL | MSG_WAITALL;
}

void encode_hang_up(io_uring_sqe& sqe, const Operation& operation) {
    io_uring_prep_poll_add(&sqe, operation.file.number, POLLRDHUP);
}

void encode_timeout(io_uring_sqe& sqe, const Operation& operation) {
    static_assert(sizeof operation.payload == sizeof(__kernel_timespec));
    sqe.opcode = IORING_OP_TIMEOUT;
    sqe.fd = -1;
    sqe.addr = reinterpret_cast<u64>(operation.payload.data());
    sqe.len = 1;
}

void encode_cancel(io_uring_sqe& sqe, const Operation& operation) {
    sqe.opcode = IORING_OP_ASYNC_CANCEL;
    sqe.fd = -1;
    sqe.addr = reinterpret_cast<u64>(operation.target);
}

void encode(io_uring_sqe& sqe, Completion& completion) {
    const Operation& operation = completion.operation;
    std::memset(&sqe, 0, sizeof sqe);
    switch (operation.code) {
        case Operation::Code::read:
        case Operation::Code::write: encode_transfer(sqe, operation); break;
        case Operation::Code::readv:
        case Operation::Code::writev: encode_vectored(sqe, operation); break;
        case Operation::Code::fdatasync: encode_sync(sqe, operation); break;
        case Operation::Code::fallocate: encode_fallocate(sqe, operation); break;
        case Operation::Code::discard: encode_discard(sqe, operation); break;
        case Operation::Code::command: encode_command(sqe, operation); break;
        case Operation::Code::prefetch: encode_prefetch(sqe, operation); break;
        case Operation::Code::accept: encode_accept(sqe, operation); break;
        case Operation::Code::receive: encode_receive(sqe, operation); break;
        case Operation::Code::send: encode_send(sqe, operation); break;
        case Operation::Code::hang_up: encode_hang_up(sqe, operation); break;
        case Operation::Code::timeout: encode_timeout(sqe, operation); break;
        case Operation::Code::cancel: encode_cancel(sqe, operation); break;
    }
    if (operation.file.registered) sqe.flags |= IOSQE_FIXED_FILE;
    if (operation.force_async) sqe.flags |= IOSQE_ASYNC;
    sqe.user_data = reinterpret_cast<u64>(&completion);
}

}  // namespace

struct Uring::Ring {
    io_uring ring{};
    bool set_up = false;
    ~Ring() {
        if (set_up) io_uring_queue_exit(&ring);
    }
};

Result<std::unique_ptr<Uring>> Uring::create(const Options& options) {
    // Best first. SINGLE_ISSUER and DEFER_TASKRUN (6.1) run completions in this thread's own wait
    // instead of interrupting it; COOP_TASKRUN and SUBMIT_ALL are 5.19 and 5.18.
    constexpr u32 flag_sets[] = {
        IORING_SETUP_SINGLE_ISSUER | IORING_SETUP_DEFER_TASKRUN | IORING_SETUP_SUBMIT_ALL,
        IORING_SETUP_COOP_TASKRUN | IORING_SETUP_SUBMIT_ALL,
    };
    i32 error = EINVAL;
    for (const u32 flags : flag_sets) {
        auto ring = std::make_unique<Ring>();
        io_uring_params params{};
        params.flags = flags | IORING_SETUP_CQSIZE;
        if (options.restricted) params.flags |= IORING_SETUP_R_DISABLED;
        params.cq_entries = options.entries * 4;
        error = -io_uring_queue_init_params(options.entries, &ring->ring, &params);
        if (error == EINVAL) continue;
        if (error != 0) return std::unexpected(uring_refusal(error));
        ring->set_up = true;
        const int bound = options.restricted ? restrict_and_enable(ring->ring, RingOf::shard) : 0;
        const i32 files = io_uring_register_files_sparse(&ring->ring, options.files_max);
        if (files < 0) return std::unexpected(uring_refusal(-files));
        // Worth a few per cent on each enter; kernels without it (before 5.18) go on as before.
        (void)io_uring_register_ring_fd(&ring->ring);
        auto uring = std::unique_ptr<Uring>(new Uring(std::move(ring)));
        uring->restricted_ = options.restricted && bound == 0;
        TRY(uring->limit_workers(workers_at_start));
        uring->read_clock();
        return uring;
    }
    return std::unexpected(uring_refusal(error));
}

Uring::Uring(std::unique_ptr<Ring> ring) : ring_(std::move(ring)) {
    signals_.reserve(signals_expected);
}
Uring::~Uring() = default;

void Uring::submit(Completion& completion) {
    ASSERT(completion.done != nullptr && completion.next == nullptr);
    if (completion.operation.on_thread) {
        calls_.push(completion);
        return;
    }
    // Behind those that wait already, so that nothing overtakes.
    if (!waiting_.empty() || !prepare(completion)) waiting_.push(completion);
}

bool Uring::prepare(Completion& completion) {
    if (completion.operation.when_readable && !prepare_poll(completion.operation.file))
        return false;
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_->ring);
    if (!sqe) return false;
    encode(*sqe, completion);
    return true;
}

// The first of two linked entries: the second one is started when the file is readable.
bool Uring::prepare_poll(FileRef file) {
    if (io_uring_sq_space_left(&ring_->ring) < 2) return false;
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_->ring);
    io_uring_prep_poll_add(sqe, file.number, POLLIN);
    sqe->flags |= IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS;
    if (file.registered) sqe->flags |= IOSQE_FIXED_FILE;
    sqe->user_data = 0;
    return true;
}

void Uring::signal(i32 eventfd) {
    if (!prepare_signal(eventfd)) signals_.push_back(eventfd);
}

// A failure is the one completion that such an entry has (user_data 0): an eventfd that does not
// take a one is an error of ours.
bool Uring::prepare_signal(i32 eventfd) {
    io_uring_sqe* sqe = io_uring_get_sqe(&ring_->ring);
    if (!sqe) return false;
    io_uring_prep_write(sqe, eventfd, &one_event, sizeof one_event, 0);
    sqe->flags |= IOSQE_CQE_SKIP_SUCCESS;  // Linux 5.17
    sqe->user_data = 0;
    return true;
}

i32 Uring::descriptor(FileRef file) const {
    return file.registered ? files_[static_cast<u32>(file.number)] : file.number;
}

void Uring::call(Completion& completion) {
    const Operation& operation = completion.operation;
    const bool vectored = operation.vector_count > 0;
    iovec one = {operation.data, operation.length};
    const iovec* vectors = vectored ? operation.vectors : &one;
    const i32 count = vectored ? static_cast<i32>(operation.vector_count) : 1;
    const i32 fd = descriptor(operation.file);
    const auto offset = static_cast<off_t>(operation.offset);
    const auto flags = static_cast<i32>(operation.rw_flags);
    const bool reads =
        operation.code == Operation::Code::read || operation.code == Operation::Code::readv;
    ASSERT(reads || operation.code == Operation::Code::write ||
           operation.code == Operation::Code::writev);
    ++syscalls_;
    const ssize_t moved = reads ? ::preadv2(fd, vectors, count, offset, flags)
                                : ::pwritev2(fd, vectors, count, offset, flags);
    completion.result = moved < 0 ? -errno : static_cast<i32>(moved);
    completion.call_ns = 0;
    if ((operation.rw_flags & RWF_NOWAIT) == 0) {
        const u64 begun_ns = now_ns_;
        read_clock();
        completion.call_ns = now_ns_ - begun_ns;
    }
    ready_.push(completion);
}

void Uring::run_once(u64 wait_ns_max) {
    if (!calls_.empty()) {
        read_clock();
        while (Completion* completion = calls_.pop()) call(*completion);
        while (Completion* completion = ready_.pop()) completion->done(*completion);
        return;
    }
    // Only a burst beyond the submission queue costs more than the one enter below.
    while (!waiting_.empty() || !signals_.empty()) {
        while (!signals_.empty() && prepare_signal(signals_.back())) signals_.pop_back();
        while (!waiting_.empty() && prepare(*waiting_.front())) (void)waiting_.pop();
        if (waiting_.empty() && signals_.empty()) break;
        const i32 sent = io_uring_submit(&ring_->ring);
        ++syscalls_;
        ASSERT(sent >= 0 || sent == -EINTR || sent == -EAGAIN || sent == -EBUSY);
        if (sent < 0) break;
    }
    i32 entered = 0;
    ++syscalls_;
    if (wait_ns_max == 0) {
        entered = io_uring_submit_and_get_events(&ring_->ring);
    } else if (wait_ns_max == wait_forever_ns) {
        entered = io_uring_submit_and_wait(&ring_->ring, 1);
    } else {
        __kernel_timespec wait{.tv_sec = static_cast<i64>(wait_ns_max / ns_per_s),
                               .tv_nsec = static_cast<i64>(wait_ns_max % ns_per_s)};
        io_uring_cqe* first = nullptr;
        entered = io_uring_submit_and_wait_timeout(&ring_->ring, &first, 1, &wait, nullptr);
    }
    // EAGAIN and EBUSY: no memory or no completion space for more right now; what was not taken
    // stays in the queue for the next pass, after this one has made room.
    ASSERT(entered >= 0 || entered == -EINTR || entered == -ETIME || entered == -EAGAIN ||
           entered == -EBUSY);
    read_clock();
    collect();
    while (Completion* completion = ready_.pop()) completion->done(*completion);
}

void Uring::collect() {
    io_uring_cqe* cqe = nullptr;
    unsigned head = 0;
    unsigned count = 0;
    io_uring_for_each_cqe(&ring_->ring, head, cqe) {
        auto* completion = reinterpret_cast<Completion*>(cqe->user_data);
        ++count;
        ASSERT(completion != nullptr);
        completion->result = cqe->res;
        ready_.push(*completion);
    }
    io_uring_cq_advance(&ring_->ring, count);
}

void Uring::read_clock() {
    timespec now{};
    ::clock_gettime(CLOCK_MONOTONIC, &now);
    now_ns_ = static_cast<u64>(now.tv_sec) * ns_per_s + static_cast<u64>(now.tv_nsec);
}

Result<FileRef> Uring::register_file(i32 fd) {
    const auto free = std::ranges::find(files_, -1);
    const auto number = static_cast<u32>(free - files_.begin());
    const i32 updated = io_uring_register_files_update(&ring_->ring, number, &fd, 1);
    if (updated != 1) return fail_errno(-updated, "cannot register a file with io_uring");
    if (free == files_.end()) {
        files_.push_back(fd);
    } else {
        *free = fd;
    }
    return FileRef{static_cast<i32>(number), true};
}

void Uring::unregister_file(FileRef file) {
    ASSERT(file.registered);
    const auto number = static_cast<u32>(file.number);
    const i32 none = -1;
    // To empty a place that is taken takes no memory; where it fails all the same, the file is held
    // until something else takes the place.
    static_cast<void>(io_uring_register_files_update(&ring_->ring, number, &none, 1));
    files_[number] = -1;
}

// Both kinds alike: files and block devices are of the bounded one, the other is not used here.
Status Uring::limit_workers(u32 workers) {
    ASSERT(workers > 0);
    u32 limits[2] = {workers, workers};
    const i32 limited = io_uring_register_iowq_max_workers(&ring_->ring, limits);
    if (limited < 0) return std::unexpected(uring_refusal(-limited));
    return {};
}

Status Uring::register_buffers(std::span<const iovec> buffers) {
    const i32 registered =
        io_uring_register_buffers(&ring_->ring, buffers.data(), static_cast<u32>(buffers.size()));
    if (registered < 0) return fail_errno(-registered, "cannot register buffers with io_uring");
    return {};
}

}  // namespace ringloop::io
