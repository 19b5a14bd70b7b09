// Opening the image: the one place where a path from a user becomes a file descriptor, and where
// everything that can be wrong with it gets its message.
#pragma once

#include <sys/types.h>

#include <string>

#include "backing/backing.h"

namespace ringloop::backing {

// A regular file or a block device, open. Constant; control thread.
struct Image {
    UniqueFd fd;       // buffered, O_RDWR or O_RDONLY, close-on-exec
    std::string path;  // absolute, symbolic links resolved
    u64 size_bytes = 0;
    u32 io_block_bytes = 512;  // st_blksize: what the file system likes to move
    bool block_device = false;
    bool read_only = false;
    dev_t device = 0;  // the block device itself, or the one that the file lies on
};

// Refuses what is neither file nor block device without opening it: opening a FIFO waits for a
// writer, and opening a tape or a watchdog does things. An image that cannot be written is an
// error unless options.read_only: a device that turned read-only by itself surprises later.
Result<Image> open_image(const Options& options);

// How many bytes an open image has now, at least one. `name` as messages show it. Control thread.
Result<u64> image_bytes(int fd, const std::string& name);

// The same file under a new open file description with its own flags: O_DIRECT by fcntl would
// change everybody's, and errors of writeback are reported once to each description.
// `flags` is O_RDWR or O_RDONLY, and O_DIRECT or not. -1 and errno as open(2).
UniqueFd reopen(int fd, int flags);

// From now on reopen() asks `opener` instead: a process that may open nothing itself has somebody
// who does it. nullptr: nobody. Control thread; `opener` is called on any.
class Opener {
public:
    virtual UniqueFd open_again(int fd, int flags) = 0;

protected:
    ~Opener() = default;
};
void reopen_by(Opener* opener);

// A path as messages show it: control characters, which could break the line, become '?'.
std::string printable(const std::string& path);

// Why reopen failed with `number`, for messages: where /proc is missing, that.
std::string reopen_error(int number);

}  // namespace ringloop::backing
