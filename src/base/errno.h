// The errors of the data path: a closed set of errno values, so that every frontend can map them
// to its wire in one exhaustive switch. What the kernel returns outside the set becomes `io`.
#pragma once

#include <cerrno>

#include "base/int.h"

namespace ringloop {

enum class [[nodiscard]] Errno : i32 {
    ok = 0,
    not_permitted = EPERM,
    interrupted = EINTR,
    io = EIO,
    again = EAGAIN,
    no_memory = ENOMEM,
    invalid = EINVAL,
    file_too_big = EFBIG,
    no_space = ENOSPC,
    read_only = EROFS,
    not_supported = EOPNOTSUPP,
    quota = EDQUOT,
    stale = ESTALE,
    timed_out = ETIMEDOUT,
    remote_io = EREMOTEIO,
    cancelled = ECANCELED,
    shutdown = ESHUTDOWN,
};

// `number` is a positive errno, or 0 for success.
constexpr Errno errno_from(i32 number) {
    switch (static_cast<Errno>(number)) {
        case Errno::ok:
        case Errno::not_permitted:
        case Errno::interrupted:
        case Errno::io:
        case Errno::again:
        case Errno::no_memory:
        case Errno::invalid:
        case Errno::file_too_big:
        case Errno::no_space:
        case Errno::read_only:
        case Errno::not_supported:
        case Errno::quota:
        case Errno::stale:
        case Errno::timed_out:
        case Errno::remote_io:
        case Errno::cancelled:
        case Errno::shutdown: return static_cast<Errno>(number);
    }
    return Errno::io;
}

constexpr i32 to_number(Errno error) { return static_cast<i32>(error); }

// "ENOSPC: no space left on device". Any thread; the text lives for ever.
const char* describe(Errno error);

}  // namespace ringloop
