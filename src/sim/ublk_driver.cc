#include "sim/ublk_driver.h"

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/assert.h"

namespace ringloop::sim {

namespace wire = abi::ublk;

namespace {

// In the simulated kernel this is /dev/ublkc0, whatever descriptors the process really has.
constexpr i32 char_device = -64;

constexpr u32 at_once = 250'000;      // a hand-over that takes no time
constexpr u32 stale_bytes = 300'000;  // a read whose buffer is no longer what the last one left

u32 op_on_wire(engine::Op op) {
    switch (op) {
        case engine::Op::read: return wire::op_read;
        case engine::Op::write: return wire::op_write;
        case engine::Op::flush: return wire::op_flush;
        case engine::Op::discard: return wire::op_discard;
        case engine::Op::write_zeroes: return wire::op_write_zeroes;
        case engine::Op::prefetch: break;
    }
    ASSERT(!"a request that disks have");
    return wire::op_flush;
}

bool carries_data(const Job& job) {
    return job.op == engine::Op::read || job.op == engine::Op::write;
}

}  // namespace

// Who has a tag: it is armed, or its job is with the server, or (before the fetch) neither.
struct UblkDriver::Tag : Event {
    UblkDriver* driver = nullptr;
    u32 queue = 0;
    u32 number = 0;

    Job* job = nullptr;   // of the disk; kept when the server dies
    u64 done_bytes = 0;   // of the job, committed
    bool orphan = false;  // a dead server had it
    bool with_server = false;

    // Of this life.
    bool fetched = false;
    bool aborted = false;
    io::Completion* armed = nullptr;
    std::byte* buffer = nullptr;  // as its command has named it
};

UblkDriver::UblkDriver(Machine& machine, Audience& audience, const Options& options)
    : machine_(machine),
      audience_(audience),
      options_(options),
      descriptors_(std::size_t{options.queues} * options.depth),
      issuer_slots_(descriptors_.size()),
      issuers_(cgroup::Issuers::on(issuer_slots_.data(), options.queues, options.depth)) {
    ASSERT(options_.delay_ns_max > 0);
    for (u32 i = 0; i < descriptors_.size(); ++i) {
        tags_.push_back(std::make_unique<Tag>());
        Tag& tag = *tags_.back();
        tag.happen = tag_on_time;
        tag.driver = this;
        tag.queue = i / options_.depth;
        tag.number = i % options_.depth;
    }
}

UblkDriver::~UblkDriver() = default;

// ---- The lives of servers ----

void UblkDriver::start(Server& server) {
    ASSERT(state_ == State::cleared && server.seats.size() == options_.queues);
    state_ = State::serving;
    encoded_opcodes_ = machine_.prng.below(4) != 0;
    for (const auto& tag : tags_) {
        tag->fetched = tag->aborted = false;
        tag->buffer = nullptr;
    }
    for (u32 index = 0; index < options_.queues; ++index) seat_start(index, server.seats[index]);
}

void UblkDriver::seat_start(u32 index, const Seat& seat) {
    const ublk::DeviceInfo info{.id = 0,
                                .queues = options_.queues,
                                .depth = options_.depth,
                                .io_bytes_max = options_.io_bytes_max,
                                .flags = encoded_opcodes_ ? wire::flag_ioctl_encode : 0};
    kernels_.push_back(seat.kernel);
    seat.kernel->attach(char_device, *this);
    auto queue =
        ublk::Queue::create_on(*seat.shard, io::FileRef{char_device, false}, info, index,
                               &descriptors_[std::size_t{index} * options_.depth], &issuers_);
    ASSERT(queue.has_value());
    (*queue)->start();
    servers_.push_back(std::move(*queue));
}

void UblkDriver::stop() {
    ASSERT(state_ == State::serving);
    state_ = State::stopping;
    for (const auto& tag : tags_) wake(*tag);
}

bool UblkDriver::ended() const {
    return std::ranges::all_of(servers_, [](const auto& queue) { return queue->closed(); });
}

void UblkDriver::killed(bool power_cut) {
    state_ = State::killed;
    power_cut_ = power_cut;
    for (const auto& tag : tags_) {
        if (io::Completion* armed = std::exchange(tag->armed, nullptr)) {
            kernels_[tag->queue]->complete(*armed, -ECANCELED);
        }
        tag->orphan |= tag->with_server;
        tag->with_server = false;
    }
}

void UblkDriver::clear() {
    ASSERT(ended());
    for (Kernel* kernel : kernels_) kernel->detach(char_device);
    servers_.clear();
    kernels_.clear();
    state_ = State::cleared;
    if (!std::exchange(power_cut_, false)) return;
    for (const auto& tag : tags_) {
        if (Job* job = std::exchange(tag->job, nullptr)) audience_.lost(*job);
    }
}

// ---- Jobs of the disk ----

void UblkDriver::send(Job& job) {
    ASSERT(takes(job) && (!carries_data(job) || job.range.length <= options_.io_bytes_max));
    ASSERT(job.range.offset % sector_bytes == 0 && job.range.length % sector_bytes == 0);
    Tag* tag = free_tag();
    ASSERT(tag != nullptr);
    tag->job = &job;
    tag->done_bytes = 0;
    tag->orphan = false;
    wake(*tag);
}

// Any, on any queue: who knows on which processors the disk's users run.
UblkDriver::Tag* UblkDriver::free_tag() {
    const u64 first = machine_.prng.below(tags_.size());
    for (u64 i = 0; i < tags_.size(); ++i) {
        Tag& tag = *tags_[(first + i) % tags_.size()];
        if (!tag.job) return &tag;
    }
    return nullptr;
}

// Something can be done about the tag, after a while. Events cannot be taken back: what there is to
// do is looked up when it happens, maybe in a later life.
void UblkDriver::wake(Tag& tag) {
    if (tag.scheduled || !tag.armed) return;
    Prng& prng = machine_.prng;
    const u64 delay_ns = prng.chance(at_once) ? 0 : prng.skewed(1, options_.delay_ns_max);
    machine_.timeline.after(delay_ns, tag);
}

void UblkDriver::tag_on_time(Event& event) {
    Tag& tag = static_cast<Tag&>(event);
    UblkDriver& self = *tag.driver;
    if (!tag.armed) return;
    if (tag.job) {
        self.hand_over(tag);
    } else if (self.state_ == State::stopping) {
        tag.aborted = true;
        self.kernels_[tag.queue]->complete(*std::exchange(tag.armed, nullptr), wire::aborted);
    }
}

void UblkDriver::hand_over(Tag& tag) {
    const Job& job = *tag.job;
    describe(tag);
    issuer_slots_[std::size_t{tag.queue} * options_.depth + tag.number] = job.cgroup;
    const u64 left = job.range.length - tag.done_bytes;
    if (job.op == engine::Op::write) {
        std::memcpy(tag.buffer, job.data.data() + tag.done_bytes, left);
    } else if (job.op == engine::Op::read && machine_.prng.chance(stale_bytes)) {
        scribble(tag.buffer, left);
    }
    ++handed_over_;
    if (std::exchange(tag.orphan, false)) ++reissued_;
    tag.with_server = true;
    kernels_[tag.queue]->complete(*std::exchange(tag.armed, nullptr), wire::fetched);
}

void UblkDriver::describe(const Tag& tag) {
    const Job& job = *tag.job;
    u32 flags = op_on_wire(job.op);
    if (job.fua) flags |= wire::io_flag_fua;
    if (job.no_unmap) flags |= wire::io_flag_no_unmap;
    wire::IoDescriptor& descriptor =
        descriptors_[std::size_t{tag.queue} * options_.depth + tag.number];
    descriptor = {.op_flags = flags};
    if (job.op == engine::Op::flush) {
        descriptor.start_sector = ~u64{0};  // as the block layer leaves it
        return;
    }
    descriptor.start_sector = (job.range.offset + tag.done_bytes) >> wire::sector_shift;
    descriptor.sector_count =
        static_cast<u32>((job.range.length - tag.done_bytes) >> wire::sector_shift);
}

// ---- Commands of the server ----

void UblkDriver::start(Kernel& kernel, io::Completion& completion) {
    if (kernel.dead() || state_ == State::killed) return kernel.complete(completion, -ECANCELED);
    if (completion.operation.code != io::Operation::Code::command) {
        violate("something else than a command", nullptr);
        return kernel.complete(completion, -EINVAL);
    }
    command_on_server(kernel, completion);
}

void UblkDriver::command_on_server(Kernel& kernel, io::Completion& completion) {
    const auto command = std::bit_cast<wire::IoCommand>(completion.operation.payload);
    const auto is = [&](wire::Opcode opcode) {
        return completion.operation.command == (encoded_opcodes_ ? opcode.encoded : opcode.legacy);
    };
    const auto refuse = [&](const char* what, const Tag* tag, i32 error) {
        violate(what, tag);
        kernel.complete(completion, error);
    };
    if (command.queue_id >= kernels_.size() || command.tag >= options_.depth) {
        return refuse("a command of a tag that does not exist", nullptr, -EINVAL);
    }
    Tag& tag = tag_of(command.queue_id, command.tag);
    if (kernels_[tag.queue] != &kernel) {
        return refuse("a command from a thread that does not own the queue", &tag, -EINVAL);
    }
    if (command.address == 0 || command.address % page_bytes != 0) {
        return refuse("a command without a buffer", &tag, -EINVAL);
    }
    if (tag.armed || tag.aborted) return refuse("a command of an armed tag", &tag, -EBUSY);
    tag.buffer = std::bit_cast<std::byte*>(command.address);
    if (is(wire::fetch)) {
        if (tag.fetched) return refuse("a second fetch", &tag, -EBUSY);
        tag.fetched = true;
        tag.armed = &completion;
        wake(tag);
        return;
    }
    if (!is(wire::commit_and_fetch)) return refuse("an unknown command", &tag, -EOPNOTSUPP);
    if (!tag.with_server) return refuse("a commit of what the server has not", &tag, -EBUSY);
    tag.with_server = false;
    tag.armed = &completion;
    commit(tag, command.result);
    wake(tag);
}

// A short result of a read or a write is not the end of it: the rest is handed over again.
void UblkDriver::commit(Tag& tag, i32 result) {
    Job& job = *tag.job;
    if (result < 0) return answer(tag, -result);
    if (!carries_data(job)) return answer(tag, 0);
    const u64 left = job.range.length - tag.done_bytes;
    const u64 done = static_cast<u32>(result);
    if (done > left || done % sector_bytes != 0 || (done == 0 && left > 0)) {
        violate("a commit of bytes that were not asked for", &tag);
        return answer(tag, EIO);
    }
    if (job.op == engine::Op::read) {
        std::memcpy(job.data.data() + tag.done_bytes, tag.buffer, done);
    }
    tag.done_bytes += done;
    if (tag.done_bytes == job.range.length) return answer(tag, 0);
    ++resent_;
}

void UblkDriver::answer(Tag& tag, i32 error) {
    Job& job = *std::exchange(tag.job, nullptr);
    // What is in the buffer now is nobody's: whoever still reads it is to notice.
    if (carries_data(job)) scribble(tag.buffer, job.range.length);
    issuer_slots_[std::size_t{tag.queue} * options_.depth + tag.number] = 0;
    audience_.answered(job, error);
}

bool UblkDriver::cancel(Kernel& kernel, io::Completion& completion) {
    const auto found =
        std::ranges::find_if(tags_, [&](const auto& tag) { return tag->armed == &completion; });
    if (found == tags_.end()) return false;
    (*found)->armed = nullptr;
    kernel.complete(completion, -ECANCELED);
    return true;
}

void UblkDriver::scribble(std::byte* bytes, u64 length) {
    for (u64 at = 0; at < length; at += sizeof(u64)) {
        const u64 noise = machine_.prng.next();
        std::memcpy(bytes + at, &noise, std::min<u64>(sizeof noise, length - at));
    }
}

void UblkDriver::violate(const char* what, const Tag* tag) {
    if (!violation_.empty()) return;
    violation_ = std::string("ublk: ") + what;
    if (!tag) return;
    violation_ +=
        ", tag " + std::to_string(tag->number) + " of queue " + std::to_string(tag->queue);
    if (tag->job) violation_ += ", job " + std::to_string(tag->job->number);
}

}  // namespace ringloop::sim
