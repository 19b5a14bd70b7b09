#include "base/errno.h"

namespace ringloop {

const char* describe(Errno error) {
    switch (error) {
        case Errno::ok: return "success";
        case Errno::not_permitted: return "EPERM: operation not permitted";
        case Errno::interrupted: return "EINTR: interrupted";
        case Errno::io: return "EIO: input/output error";
        case Errno::again: return "EAGAIN: would block";
        case Errno::no_memory: return "ENOMEM: out of memory";
        case Errno::invalid: return "EINVAL: invalid argument";
        case Errno::file_too_big: return "EFBIG: file too large";
        case Errno::no_space: return "ENOSPC: no space left on device";
        case Errno::read_only: return "EROFS: read-only";
        case Errno::not_supported: return "EOPNOTSUPP: operation not supported";
        case Errno::quota: return "EDQUOT: disk quota exceeded";
        case Errno::stale: return "ESTALE: stale file handle";
        case Errno::timed_out: return "ETIMEDOUT: timed out";
        case Errno::remote_io: return "EREMOTEIO: remote input/output error";
        case Errno::cancelled: return "ECANCELED: cancelled";
        case Errno::shutdown: return "ESHUTDOWN: shutting down";
    }
    return "EIO: input/output error";
}

}  // namespace ringloop
