#include "frontend/ublk/queue.h"

#include <sys/mman.h>
#include <unistd.h>

#include <bit>
#include <cerrno>

#include "base/assert.h"
#include "base/log.h"
#include "frontend/ublk/wire.h"

namespace ringloop::ublk {

namespace wire = abi::ublk;

struct Queue::Slot : io::Completion {
    // Derived from, so that the answer leads back to the tag.
    struct TagRequest : engine::Request {
        Slot* slot = nullptr;
    };
    enum class Owner : u8 { nobody, driver, engine, closed };

    Queue* queue = nullptr;
    u16 tag = 0;
    Owner owner = Owner::nobody;
    TagRequest request;
};

Result<std::unique_ptr<Queue>> Queue::create(engine::Shard& shard, int char_fd,
                                             const DeviceInfo& info, u32 queue_id,
                                             u32 sector_size_bytes,
                                             const cgroup::Issuers* issuers) {
    if (info.io_bytes_max < sector_size_bytes) {
        return fail(EINVAL, "ublk device {}: requests of at most {} bytes hold no sector of {}",
                    info.id, info.io_bytes_max, sector_size_bytes);
    }
    const auto page_size = static_cast<u64>(sysconf(_SC_PAGESIZE));
    Mapping mapping =
        map(wire::descriptors_length(info.depth, page_size), PROT_READ, MAP_SHARED | MAP_POPULATE,
            char_fd, wire::descriptors_offset(queue_id, page_size));
    if (!mapping) {
        return fail_errno(errno, "{}: cannot map the descriptors of queue {}",
                          char_device_path(info.id), queue_id);
    }
    auto char_file = shard.kernel().register_file(char_fd);
    if (!char_file) return std::unexpected(std::move(char_file).error());

    auto queue = create_on(shard, *char_file, info, queue_id,
                           static_cast<const wire::IoDescriptor*>(mapping.get()), issuers);
    if (queue) (*queue)->descriptors_mapping_ = std::move(mapping);
    return queue;
}

Result<std::unique_ptr<Queue>> Queue::create_on(engine::Shard& shard, io::FileRef char_file,
                                                const DeviceInfo& info, u32 queue_id,
                                                const wire::IoDescriptor* descriptors,
                                                const cgroup::Issuers* issuers) {
    ASSERT(queue_id < info.queues && info.queues <= wire::queues_max);
    ASSERT(info.depth > 0 && info.depth <= wire::depth_max);
    ASSERT(!issuers || issuers->hold(info.queues, info.depth));
    std::unique_ptr<Queue> queue(new Queue(shard, char_file, info, queue_id, descriptors, issuers));
    TRY(queue->make_slots());
    return queue;
}

Queue::Queue(engine::Shard& shard, io::FileRef char_file, const DeviceInfo& info, u32 queue_id,
             const wire::IoDescriptor* descriptors, const cgroup::Issuers* issuers)
    : shard_(shard),
      char_file_(char_file),
      queue_id_(queue_id),
      depth_(info.depth),
      io_bytes_max_(info.io_bytes_max),
      encoded_opcodes_((info.flags & wire::flag_ioctl_encode) != 0),
      descriptors_(descriptors),
      issuers_(issuers) {}

Queue::~Queue() { ASSERT(slots_open_ == 0); }

Status Queue::make_slots() {
    // Pages are never given back while the queue lives: the driver copies a write in before anybody
    // here learns of it.
    const u64 length = u64{depth_} * io_bytes_max_;
    buffers_ = shard_.device().buffers().take(length);
    if (!buffers_) {
        return fail(ENOMEM,
                    "no {} bytes of buffers for queue {}; use fewer --queues, or a smaller --depth",
                    length, queue_id_);
    }
    slots_ = std::make_unique<Slot[]>(depth_);
    std::byte* buffer = buffers_.data();
    for (u32 tag = 0; tag < depth_; ++tag) {
        Slot& slot = slots_[tag];
        slot.queue = this;
        slot.tag = static_cast<u16>(tag);
        slot.done = fetch_on_kernel;
        slot.request.slot = &slot;
        slot.request.buffer = buffer + u64{tag} * io_bytes_max_;
        slot.request.done = request_on_engine;
    }
    return {};
}

void Queue::start() {
    ASSERT(slots_open_ == 0 && !closed());
    slots_open_ = depth_;
    for (u32 tag = 0; tag < depth_; ++tag) fetch_start(slots_[tag]);
}

void Queue::fetch_start(Slot& slot) {
    ASSERT(slot.owner == Slot::Owner::nobody);
    command_start(slot, wire::fetch, 0);
}

void Queue::fetch_on_kernel(io::Completion& completion) {
    auto& slot = static_cast<Slot&>(completion);
    Queue& queue = *slot.queue;
    ASSERT(slot.owner == Slot::Owner::driver);
    if (completion.result != wire::fetched) {
        queue.slot_close(slot, completion.result);
        return;
    }
    slot.owner = Slot::Owner::engine;

    // The driver wrote the descriptor before it completed the command. A copy, so that what was
    // checked is what is used.
    const wire::IoDescriptor& shared = queue.descriptors_[slot.tag];
    wire::IoDescriptor descriptor;
    descriptor.op_flags = __atomic_load_n(&shared.op_flags, __ATOMIC_ACQUIRE);
    descriptor.sector_count = __atomic_load_n(&shared.sector_count, __ATOMIC_RELAXED);
    descriptor.start_sector = __atomic_load_n(&shared.start_sector, __ATOMIC_RELAXED);

    // Noted before the driver got the request, and nobody else's while we have it.
    if (queue.issuers_) slot.request.cgroup = queue.issuers_->of(queue.queue_id_, slot.tag);

    const Errno refused = decode(descriptor, queue.io_bytes_max_, slot.request);
    if (refused == Errno::ok) {
        queue.shard_.submit(slot.request);
    } else {
        queue.commit_start(slot, errno_on_wire(refused));
    }
}

void Queue::request_on_engine(engine::Request& request) {
    Slot& slot = *static_cast<Slot::TagRequest&>(request).slot;
    slot.queue->commit_start(slot, result_on_wire(request));
}

void Queue::commit_start(Slot& slot, i32 result) {
    ASSERT(slot.owner == Slot::Owner::engine);
    command_start(slot, wire::commit_and_fetch, result);
}

void Queue::command_start(Slot& slot, wire::Opcode opcode, i32 result) {
    const wire::IoCommand command{.queue_id = static_cast<u16>(queue_id_),
                                  .tag = slot.tag,
                                  .result = result,
                                  .address = reinterpret_cast<u64>(slot.request.buffer)};
    slot.owner = Slot::Owner::driver;
    slot.operation = {
        .code = io::Operation::Code::command,
        .file = char_file_,
        .command = encoded_opcodes_ ? opcode.encoded : opcode.legacy,
        .payload = std::bit_cast<std::array<u64, 2>>(command),
    };
    shard_.kernel().submit(slot);
}

// Never fetched again, whatever the reason: after an abort that is the rule, and a refused command
// would be refused again.
void Queue::slot_close(Slot& slot, i32 reason) {
    ASSERT(slots_open_ > 0);
    slot.owner = Slot::Owner::closed;
    --slots_open_;
    if (reason != wire::aborted && !refusal_logged_) {
        refusal_logged_ = true;
        log::error("queue {}: the ublk driver refused a command of tag {}: {}; the tag is lost",
                   queue_id_, slot.tag,
                   reason < 0 ? errno_text(-reason) : fmt::format("result {}", reason));
    }
    if (slots_open_ != 0) return;
    closed_.store(true, std::memory_order_release);
    if (on_closed) on_closed(on_closed_context);
}

Queue::Mapping Queue::map(u64 length, int protection, int flags, int fd, u64 offset) {
    void* address = mmap(nullptr, length, protection, flags, fd, static_cast<off_t>(offset));
    if (address == MAP_FAILED) address = nullptr;
    return Mapping(address, Unmap{length});
}

void Queue::Unmap::operator()(void* address) const { munmap(address, length); }

}  // namespace ringloop::ublk
