#include "io/restrictions.h"

#include <liburing.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <initializer_list>
#include <vector>

namespace ringloop::io {
namespace {

using Restrictions = std::vector<io_uring_restriction>;

void allow_operations(Restrictions& list, std::initializer_list<unsigned char> operations) {
    for (const unsigned char operation : operations) {
        io_uring_restriction& entry = list.emplace_back();
        entry = {};
        entry.opcode = IORING_RESTRICTION_SQE_OP;
        entry.sqe_op = operation;
    }
}

void allow_registering(Restrictions& list, std::initializer_list<unsigned char> operations) {
    for (const unsigned char operation : operations) {
        io_uring_restriction& entry = list.emplace_back();
        entry = {};
        entry.opcode = IORING_RESTRICTION_REGISTER_OP;
        entry.register_op = operation;
    }
}

void allow_flags(Restrictions& list, unsigned char flags) {
    io_uring_restriction& entry = list.emplace_back();
    entry = {};
    entry.opcode = IORING_RESTRICTION_SQE_FLAGS_ALLOWED;
    entry.sqe_flags = flags;
}

Restrictions restrictions_of(RingOf what) {
    Restrictions list;
    allow_operations(list, {IORING_OP_URING_CMD, IORING_OP_ASYNC_CANCEL});
    allow_registering(list, {IORING_REGISTER_RING_FDS, IORING_UNREGISTER_RING_FDS});
    if (what == RingOf::commands) return list;
    allow_operations(list,
                     {IORING_OP_READ, IORING_OP_WRITE, IORING_OP_READ_FIXED, IORING_OP_WRITE_FIXED,
                      IORING_OP_READV, IORING_OP_WRITEV, IORING_OP_FSYNC, IORING_OP_FALLOCATE,
                      IORING_OP_FADVISE, IORING_OP_ACCEPT, IORING_OP_RECV, IORING_OP_RECVMSG,
                      IORING_OP_SENDMSG, IORING_OP_TIMEOUT, IORING_OP_POLL_ADD});
    // Files change with the image, buffers come with clients, and workers are shared out anew.
    allow_registering(list, {IORING_REGISTER_FILES_UPDATE, IORING_REGISTER_FILES2,
                             IORING_REGISTER_BUFFERS, IORING_REGISTER_IOWQ_MAX_WORKERS});
    allow_flags(list, IOSQE_FIXED_FILE | IOSQE_IO_LINK | IOSQE_CQE_SKIP_SUCCESS | IOSQE_ASYNC);
    return list;
}

// liburing's own are in its header, but Debian 12's library (2.3) does not export them.
int register_with(io_uring& ring, unsigned operation, void* argument, unsigned count) {
    const long done = ::syscall(SYS_io_uring_register, ring.ring_fd, operation, argument, count);
    return done < 0 ? -errno : 0;
}

}  // namespace

int restrict_and_enable(io_uring& ring, RingOf what) {
    Restrictions list = restrictions_of(what);
    const int restricted = register_with(ring, IORING_REGISTER_RESTRICTIONS, list.data(),
                                         static_cast<unsigned>(list.size()));
    const int enabled = register_with(ring, IORING_REGISTER_ENABLE_RINGS, nullptr, 0);
    return enabled < 0 ? enabled : restricted;
}

}  // namespace ringloop::io
