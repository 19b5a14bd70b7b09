// What the kernel should do, as a value: it can be printed, compared, scripted and replayed.
#pragma once

#include <sys/socket.h>
#include <sys/uio.h>

#include <array>

#include "base/int.h"

namespace ringloop::io {

struct Completion;

// A file that a Kernel knows: an index of its registered table, or a plain descriptor.
struct FileRef {
    i32 number = -1;
    bool registered = false;

    constexpr bool operator==(const FileRef&) const = default;
};

// The offset of a read from something that has none: an eventfd, a pipe, a socket.
inline constexpr u64 no_offset = ~u64{0};

struct Operation {
    enum class Code : u8 {
        read,       // data, length, offset, rw_flags; data within fixed_buffer when that is >= 0
        write,      // the same
        readv,      // vectors, vector_count, offset, rw_flags; length is their sum
        writev,     // the same
        fdatasync,  // file alone
        fallocate,  // mode, offset, length
        discard,    // a block device's bytes [offset, offset + length): BLOCK_URING_CMD_DISCARD
        command,    // a driver's command: command, payload (16 bytes of the submission entry)
        prefetch,   // file's bytes [offset, offset + length) will be read soon
        accept,     // a listening socket: the answer is a descriptor, close-on-exec, the caller's
        receive,    // a socket: what is there, 0 at its end; data and length, or message
        send,       // a socket: all of message; fewer bytes only when the connection broke
        hang_up,    // a socket: until the other end has shut its side down, or the whole is gone
        timeout,    // payload: seconds and nanoseconds from now; ends with -ETIME
        cancel,     // target ends soon, with -ECANCELED unless it was faster; answers 0 or an error
    };

    Code code = Code::read;
    // Start on a worker of the kernel at once instead of trying without blocking first.
    bool force_async = false;
    // read to writev: a system call on this thread when the pass begins, not an entry of the ring.
    // Worth it for what the page cache answers at once; with RWF_NOWAIT it cannot block.
    bool on_thread = false;
    // read: once there is something to read, also from a descriptor with O_NONBLOCK, which would
    // refuse to wait.
    bool when_readable = false;
    FileRef file;
    u64 offset = 0;             // bytes
    u64 length = 0;             // bytes
    std::byte* data = nullptr;  // not owned; stable until the completion
    iovec* vectors = nullptr;   // not owned; stable until the completion
    u32 vector_count = 0;
    i32 fixed_buffer = -1;         // index of a registered buffer that contains data, or -1
    u32 rw_flags = 0;              // RWF_*
    i32 mode = 0;                  // FALLOC_FL_*
    u32 command = 0;               // driver's command number
    std::array<u64, 2> payload{};  // of a command, as the driver lays it out
    msghdr* message = nullptr;     // not owned; stable until the completion, as its vectors are
    Completion* target = nullptr;  // of a cancel: submitted, and not completed yet
};

}  // namespace ringloop::io
