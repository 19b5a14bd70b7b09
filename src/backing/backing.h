// What the bytes of a device live on: a regular file or a block device.
//
// A Backing is constant while any shard of its device serves, so every shard reads it without a
// lock. While all are frozen its size may change, see resize(), and so may the image itself, or how
// it is opened, see exchange(). It translates an Access (what the engine wants of a range) into an
// io::Operation (what the kernel should do); it never performs I/O of the data path itself.
#pragma once

#include <sys/uio.h>

#include <atomic>
#include <memory>
#include <mutex>
#include <optional>
#include <string>

#include "base/range.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "io/kernel.h"

namespace ringloop::backing {

struct Image;

enum class DirectIo : u8 { automatic, on, off };

struct Options {
    std::string path{};
    // Any descriptor of the image, O_PATH too, where somebody else has looked it up: then `path` is
    // what it is called, and absolute. -1: none. The caller's.
    int looked_up_fd = -1;
    u64 offset_bytes = 0;
    u64 sizelimit_bytes = 0;  // 0: to the end of the image
    bool read_only = false;
    DirectIo direct_io = DirectIo::automatic;
    u32 sector_size_bytes = 0;  // 0: 512, or what direct_io=on needs
    // Requests may begin and end at any byte, and the size is the image's to the byte. Buffered,
    // unless direct_io is on: then both are whole sectors after all.
    bool byte_granular = false;
    bool lock = false;  // the part of the image that the device is: see image_lock.h
};

// What the device made of this backing looks like. Constant after open. Sizes in bytes.
struct Geometry {
    u64 size = 0;  // of the device at open, cut to whole sectors; see Backing::size_now
    u32 sector_size = 512;
    u32 physical_block_size = 512;  // this and the next two: powers of two
    u32 io_size_min = 512;
    u32 io_size_optimal = 0;  // 0: not known
    bool read_only = false;
    bool block_device = false;  // and not a regular file
    bool rotational = false;
    bool direct = false;        // O_DIRECT is in use at attach
    std::string direct_reason;  // why not, when it is not; empty otherwise
    u32 memory_alignment = 1;   // of buffers, when direct
    bool discard = false;
    u32 discard_granularity = 0;  // power of two, multiple of sector_size; 0 without discard
    bool write_zeroes = false;    // cheaper than writing them
    std::string filesystem;       // that a file lies on, "ext4"; empty for a block device
    bool compressing = false;     // it may store what is written elsewhere, and smaller
    bool sparse = false;          // the file had fewer blocks than bytes at open
    u64 bytes_cut = 0;            // of the image's tail at open, below one sector: unreachable
    u32 request_alignment = 512;  // offset and length of every request are a multiple of it
    // The same of what is discarded or zeroed without writing: 1, or a block device's block.
    u32 deallocate_alignment = 1;
};

// What the engine wants done with a range of the device (offset 0 is the device's first byte).
struct Access {
    enum class Kind : u8 {
        read,
        write,
        write_durable,  // on stable storage when it completes; only when Backing::durable_writes()
        sync,           // everything that completed before is on stable storage
        discard,        // old data or zeroes afterwards
        zero_unmap,     // zeroes, blocks may be given back
        zero_keep,      // zeroes, blocks stay allocated
        prefetch,       // will be read soon; a hint
    };
    Kind kind = Kind::read;
    ByteRange range{};
    iovec* vectors = nullptr;  // read, write: their lengths add up to range.length
    u32 vector_count = 0;
    i32 fixed_buffer = -1;  // registered buffer that holds the one vector, or -1
};

// The backing as one shard's Kernel knows it. Every shard opens the image anew: the kernel reports
// a failed writeback once to each open file description, so a shared one would tell a single shard
// and let the others acknowledge a flush (errseq_t, Documentation/filesystems/vfs.rst).
struct Handle {
    UniqueFd direct_fd;  // empty when the backing is buffered
    UniqueFd buffered_fd;
    io::FileRef direct;
    io::FileRef buffered;
};

class Backing {
public:
    // Opens, measures and probes. Leaves nothing behind on an error. May block (control thread).
    static Result<std::unique_ptr<Backing>> open(const Options& options);

    // Files that exist only in a simulated kernel, which knows them by these numbers: nothing is
    // opened, and the geometry is what the test says it is.
    static constexpr i32 simulated_direct = -2;
    static constexpr i32 simulated_buffered = -3;
    static std::unique_ptr<Backing> simulate(Geometry geometry, u64 offset_bytes,
                                             u32 direct_alignment);

    const Geometry& geometry() const { return geometry_; }
    // What handles are opened by; a process that shall open one must have it.
    int fd() const { return fd_.get(); }
    // As found at open: absolute, for people and for a later recover.
    const std::string& path() const { return path_; }

    // Any thread, at start.
    Result<Handle> open_handle(io::Kernel& kernel) const;
    // The two halves of it, for a shard that serves: files that any thread may open, because that
    // may take a while, and what the kernel's own thread does with them. After an error nothing is
    // registered.
    Result<Handle> open_files() const;
    static Status register_files(io::Kernel& kernel, Handle& handle);
    // The same of an image of which only a descriptor is known, for reading or for writing as that
    // is: direct, too, where the image can be, so that there is a file for whatever a shard asks.
    static Result<Handle> open_handle_of(int fd, io::Kernel& kernel);
    // The end of a handle with which nothing is in flight, on the kernel's thread.
    static void close_handle(io::Kernel& kernel, Handle& handle);

    // Any thread. The access lies within size_now().
    io::Operation operation(const Handle& handle, const Access& access) const;

    // Whether a write can be made durable by itself (RWF_DSYNC); otherwise write, then sync.
    // Direct only: a buffered RWF_DSYNC would consume and misreport the failure of earlier writes.
    bool durable_writes() const { return direct_now(); }

    // False once an aligned direct operation was refused (EINVAL) and everything went buffered.
    bool direct_now() const { return direct_now_.load(std::memory_order_relaxed); }
    // overlayfs, 9p and some FUSE servers accept O_DIRECT at open and refuse it per operation.
    // Any thread. True: build the access anew (with a new look at durable_writes) and try again.
    // False when `refused`, as operation() made it, was not a direct one: then EINVAL is final.
    bool fall_back_to_buffered(const Handle& handle, const io::Operation& refused) const;

    // An Access kind that the system turned out not to support (EOPNOTSUPP) is not tried again.
    // Any thread. discard -> false: nothing left to try. zero_* -> the engine writes zeroes.
    bool zero_supported(Access::Kind kind) const;
    // Returns true when another way exists for the same access and should be tried now.
    bool note_unsupported(Access::Kind kind, const io::Operation& refused) const;

    // The size of the device: geometry().size until the first resize(). Any thread; for a shard it
    // is constant while it has anything in flight.
    u64 size_now() const { return size_now_.load(std::memory_order_relaxed); }

    // The size that the image, as it is now, gives the device by the rules of open().
    struct Measured {
        u64 size_bytes = 0;
        u64 bytes_cut = 0;  // of the image's tail
    };
    // With another size limit, or the one that it has. Control thread; may block.
    Result<Measured> measure_again(std::optional<u64> sizelimit_bytes = {}) const;
    // What became of the image by now; control thread. Nothing where that cannot be found out.
    struct Presence {
        bool removed = false;   // a file without a name: gone as soon as nobody has it open
        u64 missing_bytes = 0;  // of the device, because the image was cut short
    };
    Presence presence() const;
    // The limit for later measures; control thread. What it adds has to be claimed before the size
    // is changed: EBUSY where somebody else has it locked.
    Status claim_for(u64 sizelimit_bytes);
    void limit_size(u64 sizelimit_bytes);
    // What holds the lock, -1 where none is wanted; and the same of another process, which goes on
    // to hold it here.
    int lock_fd() const { return lock_fd_.get(); }
    void adopt_lock(UniqueFd fd) { lock_fd_ = std::move(fd); }
    // After open_other() of what did not take its place: the lock is on this image again.
    void lock_again();

    // Control thread, while every shard of the device is frozen (engine/freeze.h): an access that
    // was admitted under the old size is not to be carried out under another. Whoever else looks
    // at the size, the survey of extents for instance, sees the one or the other.
    void resize(u64 size_bytes) { size_now_.store(size_bytes, std::memory_order_relaxed); }

    // What shall take this image's place in the device.
    struct Other {
        std::string path{};     // absolute; empty: the same image, opened in another way
        int looked_up_fd = -1;  // of it; as of Options
        DirectIo direct_io = DirectIo::automatic;
        bool read_only = false;
    };
    // Opens, measures and probes it, with the offset and the size limit of this one. The error says
    // why the device cannot have it: what its users were told of size, sectors, granularity and
    // discards has to stay true. Control thread; may block.
    // The lock of an image that both are passes to the other.
    Result<std::unique_ptr<Backing>> open_other(const Other& other);
    // Control thread, while every shard is frozen and searching() is held: this becomes what
    // open_other() gave, which becomes what this was.
    void exchange(Backing& other);
    // Held by whoever looks for extents, for as long as its answer has to be of one image.
    std::timed_mutex& searching() const { return searching_; }

    // Waits until everything written is on stable storage (control thread, at detach).
    Status sync() const;

    // What lies at `offset`, and for how many bytes from there: a hole reads as zeroes and has no
    // blocks. To be called again behind the answer. What cannot be found out is data, which is
    // always true, and so is what a client that negotiated a larger size asks for behind the end.
    // Any thread but a shard's: it may block on the filesystem's metadata.
    struct Extent {
        u64 length = 0;  // at least 1; within the device if `offset` is
        bool hole = false;
    };
    Extent extent_at(u64 offset) const;

private:
    Backing() = default;

    Status measure(Image image, const Options& options);
    Status check_other(const Backing& other, bool same_image) const;
    Status take_lock();
    bool is_same_file(const Other& other) const;
    bool goes_direct(const Access& access) const;
    io::Operation transfer(const Handle& handle, const Access& access) const;
    io::Operation deallocate(const Handle& handle, const Access& access) const;

    // What users of the device were told when it was made, whatever its image is by now.
    struct Told {
        bool byte_granular = false;  // Options::byte_granular
        u32 request_alignment = 512;
        bool discard = false;
    };
    Told told_;
    mutable std::timed_mutex searching_;

    // Constant but for exchange().
    std::string path_;
    Geometry geometry_;
    UniqueFd fd_;       // buffered; what handles are reopened from (/proc/self/fd), and searched;
                        // empty when the files are simulated
    UniqueFd lock_fd_;  // holds the lock (image_lock.h); empty: none is wanted
    u64 offset_ = 0;    // bytes of the image before the device's first
    u64 sizelimit_ = 0;
    bool regular_file_ = false;
    u32 direct_alignment_ = 1;  // of offsets and lengths within the image, when direct

    std::atomic<u64> size_now_ = 0;

    // Learned while running; each goes from true to false once, by any shard. Relaxed: they guard
    // no other data, and a shard that learns late only asks the kernel once more.
    mutable std::atomic<bool> direct_now_ = false;
    mutable std::atomic<bool> discard_command_ = false;  // BLOCK_URING_CMD_DISCARD (6.12)
    mutable std::atomic<bool> punch_hole_ = false;       // FALLOC_FL_PUNCH_HOLE
    mutable std::atomic<bool> zero_range_ = false;       // FALLOC_FL_ZERO_RANGE
};

}  // namespace ringloop::backing
