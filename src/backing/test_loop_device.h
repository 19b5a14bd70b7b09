// For tests: the kernel's own loop device over a file, where this may be made.
#pragma once

#include <fcntl.h>
#include <linux/loop.h>
#include <sys/ioctl.h>

#include <cerrno>
#include <string>

#include "base/int.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace ringloop::backing {

// It detaches itself when its last descriptor is closed, so a failed test leaves nothing behind.
class LoopDevice {
public:
    LoopDevice(const std::string& file, u32 block_bytes, bool read_only) {
        const UniqueFd control(open("/dev/loop-control", O_RDWR | O_CLOEXEC));
        const UniqueFd below(open(file.c_str(), O_RDWR | O_CLOEXEC));
        if (!control || !below) return;
        loop_config config = {};
        config.fd = static_cast<u32>(below.get());
        config.block_size = block_bytes;
        config.info.lo_flags =
            LO_FLAGS_AUTOCLEAR | (read_only ? static_cast<u32>(LO_FLAGS_READ_ONLY) : 0u);
        // Somebody else may take the free number between the two calls.
        for (int attempt = 0; attempt < 100; ++attempt) {
            const int number = ioctl(control.get(), LOOP_CTL_GET_FREE);
            if (number < 0) return;
            path_ = fmt::format("/dev/loop{}", number);
            UniqueFd fd(open(path_.c_str(), O_RDWR | O_CLOEXEC));
            if (!fd) return;
            if (ioctl(fd.get(), LOOP_CONFIGURE, &config) == 0) {
                fd_ = std::move(fd);
                return;
            }
            if (errno != EBUSY) return;
        }
    }
    explicit operator bool() const { return static_cast<bool>(fd_); }
    const std::string& path() const { return path_; }

private:
    std::string path_;
    UniqueFd fd_;
};

}  // namespace ringloop::backing
