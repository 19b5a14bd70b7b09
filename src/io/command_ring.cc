#include "io/command_ring.h"

#include <liburing.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <thread>

#include "base/assert.h"
#include "io/refusal.h"
#include "io/restrictions.h"

namespace ringloop::io {

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

constexpr u32 entries = 8;
constexpr std::size_t payload_size_bytes_max = 80;
// How long a command that was given up may take to say that it has ended. One that waits for an
// event ends at once; one stuck deeper in the kernel cannot be ended at all.
constexpr milliseconds cancel_wait{1000};
// Between attempts of a command that a signal interrupted in the kernel: its cause must pass.
constexpr milliseconds interrupted_pause{1};

}  // namespace

struct CommandRing::Ring {
    ~Ring() {
        if (ready) io_uring_queue_exit(&ring);
    }

    Status send(int fd, u32 command, std::span<const std::byte> payload);
    // The answer to the command sent last; nullopt when there is none by `deadline`.
    Result<std::optional<i32>> wait(Clock::time_point deadline);
    Status cancel();

    io_uring ring{};
    bool ready = false;
    // Names the command sent last. The answer to an earlier one, given up, is dropped by it.
    u64 sequence = 0;
};

Result<CommandRing> CommandRing::create() {
    auto ring = std::make_unique<Ring>();
    // Not IORING_SETUP_SINGLE_ISSUER: a device is set up on one thread and ended on another.
    const int status =
        io_uring_queue_init(entries, &ring->ring, IORING_SETUP_SQE128 | IORING_SETUP_R_DISABLED);
    if (status < 0) return std::unexpected(uring_refusal(-status));
    ring->ready = true;
    // Every kernel with ublk can do it; one that does not has a ring all the same.
    static_cast<void>(restrict_and_enable(ring->ring, RingOf::commands));
    return CommandRing(std::move(ring));
}

CommandRing::CommandRing(std::unique_ptr<Ring> ring) : ring_(std::move(ring)) {}
CommandRing::CommandRing(CommandRing&&) noexcept = default;
CommandRing& CommandRing::operator=(CommandRing&&) noexcept = default;
CommandRing::~CommandRing() = default;

Result<i32> CommandRing::run(int fd, u32 command, std::span<const std::byte> payload,
                             u32 timeout_ms) {
    ASSERT(payload.size() <= payload_size_bytes_max);
    const Clock::time_point deadline = Clock::now() + milliseconds(timeout_ms);
    while (Clock::now() < deadline) {
        TRY(ring_->send(fd, command, payload));
        auto answer = ring_->wait(deadline);
        if (!answer) return std::unexpected(std::move(answer).error());
        if (!*answer) {
            TRY(ring_->cancel());
            answer = ring_->wait(Clock::now() + cancel_wait);
            if (!answer) return std::unexpected(std::move(answer).error());
            // Answered at the last moment: what it did is done, so it counts.
            const i32 late = answer->value_or(-ECANCELED);
            if (late != -ECANCELED && late != -EINTR) return late;
            break;
        }
        if (**answer != -EINTR) return **answer;
        std::this_thread::sleep_for(interrupted_pause);
    }
    return fail(ETIME, "the kernel did not answer command {:#x} within {} ms", command, timeout_ms);
}

Status CommandRing::Ring::send(int fd, u32 command, std::span<const std::byte> payload) {
    io_uring_sqe* entry = io_uring_get_sqe(&ring);
    ASSERT(entry != nullptr);  // each one is submitted at once
    std::memset(entry, 0, 2 * sizeof(io_uring_sqe));
    entry->opcode = IORING_OP_URING_CMD;
    entry->fd = fd;
    entry->cmd_op = command;
    entry->user_data = ++sequence;
    std::memcpy(entry->cmd, payload.data(), payload.size());
    const int status = io_uring_submit(&ring);
    if (status < 0) return fail_errno(-status, "io_uring took no command");
    return {};
}

Result<std::optional<i32>> CommandRing::Ring::wait(Clock::time_point deadline) {
    for (;;) {
        const auto left = deadline - Clock::now();
        if (left <= Clock::duration::zero()) return std::nullopt;
        const auto nanoseconds = std::chrono::nanoseconds(left).count();
        __kernel_timespec time{.tv_sec = nanoseconds / 1'000'000'000,
                               .tv_nsec = nanoseconds % 1'000'000'000};
        io_uring_cqe* entry = nullptr;
        const int status = io_uring_wait_cqe_timeout(&ring, &entry, &time);
        if (status == -ETIME) return std::nullopt;
        if (status == -EINTR) continue;
        if (status < 0) return fail_errno(-status, "cannot wait for a driver's answer");
        const u64 answered = entry->user_data;
        const i32 result = entry->res;
        io_uring_cqe_seen(&ring, entry);
        if (answered == sequence) return result;
    }
}

Status CommandRing::Ring::cancel() {
    io_uring_sqe* entry = io_uring_get_sqe(&ring);
    ASSERT(entry != nullptr);
    std::memset(entry, 0, 2 * sizeof(io_uring_sqe));
    io_uring_prep_cancel64(entry, sequence, 0);
    entry->user_data = 0;  // no command has this number: the answer is dropped
    const int status = io_uring_submit(&ring);
    if (status < 0) return fail_errno(-status, "io_uring took no cancellation");
    return {};
}

}  // namespace ringloop::io
