// One hardware queue: fetches requests from the driver, gives them to the shard, commits answers.
// Copy mode: the driver copies a write's data into the tag's buffer before the fetch completes, and
// a read's data out of it at the commit.
//
// A tag belongs either to the driver (one command of it is armed, from fetch_start or commit_start
// to fetch_on_kernel) or to us (its request is in the engine, until request_on_engine), never to
// both. So an abort cannot meet a request in flight: the driver ends armed commands only
// (ublk_cancel_cmd skips the others), and what is in flight when the disk goes ends in a commit,
// whose own answer is the abort.
#pragma once

#include <atomic>
#include <memory>

#include "abi/ublk.h"
#include "cgroup/issuers.h"
#include "engine/shard.h"
#include "frontend/ublk/control.h"

namespace ringloop::ublk {

class Queue {
public:
    // On the shard's thread, which owns the queue for life: the driver takes commits only from the
    // thread that fetched. `char_fd` is /dev/ublkcN and outlives the queue; the shard's kernel
    // holds it too (registered) until it is gone itself, and the device cannot be removed before.
    // `issuers`, of this device, tell each request its cgroup and outlive the queue; null: nobody
    // asks for it.
    static Result<std::unique_ptr<Queue>> create(engine::Shard& shard, int char_fd,
                                                 const DeviceInfo& info, u32 queue_id,
                                                 u32 sector_size_bytes,
                                                 const cgroup::Issuers* issuers = nullptr);
    // The same on descriptors that the caller keeps, info.depth of them: for a driver that is
    // simulated.
    static Result<std::unique_ptr<Queue>> create_on(engine::Shard& shard, io::FileRef char_file,
                                                    const DeviceInfo& info, u32 queue_id,
                                                    const abi::ublk::IoDescriptor* descriptors,
                                                    const cgroup::Issuers* issuers = nullptr);
    // Closed, or never started: until then the kernel writes to the slots.
    ~Queue();

    // Fetches every tag. The driver's START waits for this of all queues. Once.
    void start();

    // True once the driver has aborted every fetch (-ENODEV) and every request was committed.
    // Any thread.
    bool closed() const { return closed_.load(std::memory_order_acquire); }
    // Called from the loop, once, when closed() turns true. Set before start. Must not destroy
    // the queue.
    void (*on_closed)(void*) = nullptr;
    void* on_closed_context = nullptr;

private:
    struct Slot;  // one tag: its request, its command, its buffer

    struct Unmap {
        u64 length;  // bytes
        void operator()(void* address) const;
    };
    using Mapping = std::unique_ptr<void, Unmap>;

    Queue(engine::Shard& shard, io::FileRef char_file, const DeviceInfo& info, u32 queue_id,
          const abi::ublk::IoDescriptor* descriptors, const cgroup::Issuers* issuers);

    static Mapping map(u64 length, int protection, int flags, int fd, u64 offset);
    Status make_slots();

    void fetch_start(Slot& slot);
    static void fetch_on_kernel(io::Completion& completion);
    static void request_on_engine(engine::Request& request);
    void commit_start(Slot& slot, i32 result);
    void command_start(Slot& slot, abi::ublk::Opcode opcode, i32 result);
    void slot_close(Slot& slot, i32 reason);

    // Constant after create.
    engine::Shard& shard_;
    const io::FileRef char_file_;
    const u32 queue_id_;
    const u32 depth_;
    const u32 io_bytes_max_;
    const bool encoded_opcodes_;
    const abi::ublk::IoDescriptor* descriptors_;  // by tag; written by the driver
    const cgroup::Issuers* issuers_;              // null: requests do not name their cgroup
    Mapping descriptors_mapping_;                 // where they lie, unless the caller keeps them
    engine::BufferPiece buffers_;                 // of all tags, io_bytes_max_ each
    std::unique_ptr<Slot[]> slots_;

    // Owned by the shard's thread.
    u32 slots_open_ = 0;  // fetched, and not aborted since
    bool refusal_logged_ = false;

    std::atomic<bool> closed_ = false;
};

}  // namespace ringloop::ublk
