// Driver commands of the control path, one at a time, each with a bounded wait. Some kernels never
// answer some of them (ublk's DEL_DEV, for one), so nothing here waits for ever.
#pragma once

#include <memory>
#include <span>

#include "base/result.h"

namespace ringloop::io {

class CommandRing {
public:
    // A ring of 128-byte submission entries (IORING_SETUP_SQE128, Linux 5.19). Any one thread at a
    // time.
    static Result<CommandRing> create();
    CommandRing(CommandRing&&) noexcept;
    CommandRing& operator=(CommandRing&&) noexcept;
    ~CommandRing();  // closing the ring cancels a command that was never answered

    // Sends `command` with up to 80 bytes of payload to the driver behind fd. The value is the
    // driver's answer: >= 0, or -errno of the driver. The Error is ours: ETIME when the kernel gave
    // no answer in time. EINTR of the driver is retried within the time.
    Result<i32> run(int fd, u32 command, std::span<const std::byte> payload, u32 timeout_ms);

private:
    struct Ring;
    explicit CommandRing(std::unique_ptr<Ring> ring);
    std::unique_ptr<Ring> ring_;
};

}  // namespace ringloop::io
