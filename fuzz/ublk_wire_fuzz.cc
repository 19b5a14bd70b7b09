// A driver that hands over any descriptors, on any tags, while the image below answers in any
// order. The input is the script of both. Whatever a descriptor says, what reaches the image lies
// inside it and inside the tag's buffer, the tag is committed exactly once, and its result is one
// that the block layer knows.
#include <algorithm>
#include <array>
#include <bit>
#include <string_view>

#include "base/assert.h"
#include "frontend/ublk/queue.h"
#include "frontend/ublk/wire.h"
#include "sim/device_under_test.h"
#include "sim/fuzzing.h"

namespace ringloop::ublk {
namespace {

namespace wire = abi::ublk;
using Code = io::Operation::Code;
using sim::DeviceUnderTest;

constexpr u32 depth = 8;
constexpr u32 io_bytes_max = 64 * 1024;
constexpr io::FileRef char_file{.number = 77, .registered = false};
constexpr std::array<i32, 7> image_errors = {-EIO,    -ENOSPC,     -EINTR, -EAGAIN,
                                             -EINVAL, -EOPNOTSUPP, -EDQUOT};
constexpr std::array<i32, 6> block_errors = {-ENOMEM,     -EINVAL,    -ENOSPC,
                                             -EOPNOTSUPP, -ETIMEDOUT, -EREMOTEIO};

class Player {
public:
    Player(bool is_read_only, bool is_encoded)
        : world_({.read_only = is_read_only}), is_read_only_(is_read_only) {
        const DeviceInfo info{.id = 3,
                              .queues = 1,
                              .depth = depth,
                              .io_bytes_max = io_bytes_max,
                              .flags = is_encoded ? wire::flag_ioctl_encode : u64{0}};
        auto made = Queue::create_on(world_.shard(), char_file, info, 0, descriptors_.data());
        ASSERT(made);
        queue_ = std::move(*made);
        queue_->start();
        world_.pass();
        ASSERT(armed_count() == depth);
        for (const io::Completion* completion : world_.kernel.pending) {
            buffers_[command_of(*completion).tag] = command_of(*completion).address;
        }
    }

    void play(sim::Script script) {
        while (!script.ended()) {
            const auto choice = script.take<u8>();
            if (choice < 128) {
                deliver(choice % depth, script);
            } else if (choice < 224) {
                answer(choice, script.take<u16>());
            } else {
                pass();
            }
        }
        finish();
    }

private:
    static bool is_command(const io::Completion* completion) {
        return completion->operation.code == Code::command;
    }
    static wire::IoCommand command_of(const io::Completion& completion) {
        return std::bit_cast<wire::IoCommand>(completion.operation.payload);
    }
    u32 armed_count() const {
        return static_cast<u32>(std::ranges::count_if(world_.kernel.pending, is_command));
    }
    // Of the tag's command among what is pending; their number: the tag is with the server.
    std::size_t armed(u32 tag) const {
        const auto& pending = world_.kernel.pending;
        const auto found = std::ranges::find_if(pending, [tag](const io::Completion* completion) {
            return is_command(completion) && command_of(*completion).tag == tag;
        });
        return static_cast<std::size_t>(found - pending.begin());
    }

    void deliver(u32 tag, sim::Script& script) {
        const std::size_t index = armed(tag);
        wire::IoDescriptor descriptor{.op_flags = script.take<u32>(),
                                      .sector_count = script.take<u32>(),
                                      .start_sector = script.take<u64>()};
        if (index == world_.kernel.pending.size()) return;  // no driver does that
        descriptors_[tag] = descriptor;
        engine::Request request;
        if (decode(descriptor, io_bytes_max, request) == Errno::ok) check_decoded(request);
        outstanding_[tag] = descriptor;
        is_outstanding_[tag] = true;
        world_.kernel.complete(index, wire::fetched);
    }

    static void check_decoded(const engine::Request& request) {
        ASSERT(is_aligned(request.range.offset | request.range.length, 512));
        const bool moves = request.op == engine::Op::read || request.op == engine::Op::write;
        ASSERT(!moves || request.range.length <= io_bytes_max);
        ASSERT(request.op != engine::Op::flush || request.range == ByteRange{});
    }

    // The image answers one operation: all of it, a part, or an error.
    void answer(u8 choice, u16 how) {
        auto& pending = world_.kernel.pending;
        const auto operations = static_cast<std::size_t>(
            std::ranges::count_if(pending, [](const auto* c) { return !is_command(c); }));
        if (operations == 0) return;
        std::size_t left = choice % operations;
        for (std::size_t i = 0; i < pending.size(); ++i) {
            if (is_command(pending[i]) || left-- > 0) continue;
            world_.kernel.complete(i, result_of(pending[i]->operation, how));
            return;
        }
    }
    static bool moves_data(const io::Operation& operation) {
        return operation.code <= Code::writev;
    }
    static i32 result_of(const io::Operation& operation, u16 how) {
        if (how % 4 == 3) return image_errors[how / 4 % image_errors.size()];
        if (!moves_data(operation)) return 0;
        if (how % 4 == 2) return static_cast<i32>(how * 64u % (operation.length + 1));
        return static_cast<i32>(operation.length);
    }

    void pass() {
        world_.pass();
        for (const io::Completion* completion : world_.kernel.pending) {
            if (is_command(completion)) {
                check_commit(command_of(*completion));
            } else {
                check_operation(completion->operation);
            }
        }
    }

    void check_commit(const wire::IoCommand& command) {
        ASSERT(command.tag < depth && command.queue_id == 0);
        if (!std::exchange(is_outstanding_[command.tag], false)) return;  // seen before
        const wire::IoDescriptor& asked = outstanding_[command.tag];
        const u32 op = asked.op_flags & wire::op_mask;
        const bool moves = op == wire::op_read || op == wire::op_write;
        if (command.result >= 0) {
            ASSERT(op <= wire::op_discard || op == wire::op_write_zeroes);
            ASSERT(static_cast<u64>(command.result) ==
                   (moves ? u64{asked.sector_count} << wire::sector_shift : 0));
            ASSERT(op == wire::op_read || op == wire::op_flush || !is_read_only_);
        } else {
            ASSERT(command.result == -EIO ||
                   std::ranges::find(block_errors, command.result) != block_errors.end());
        }
    }

    void check_operation(const io::Operation& operation) {
        if (operation.code == Code::fdatasync) return;
        const ByteRange range{operation.offset, operation.length};
        ASSERT(range.fits(DeviceUnderTest::image_bytes));
        const bool reads = operation.code == Code::read || operation.code == Code::readv;
        ASSERT(reads || !is_read_only_);
        if (!reads) return;  // zeroes are written out of a place of their own
        if (operation.code == Code::read) check_buffer(operation.data, operation.length);
        for (u32 i = 0; operation.code == Code::readv && i < operation.vector_count; ++i) {
            check_buffer(operation.vectors[i].iov_base, operation.vectors[i].iov_len);
        }
    }
    void check_buffer(const void* data, u64 length) const {
        const u64 at = reinterpret_cast<u64>(data);
        for (u32 tag = 0; tag < depth; ++tag) {
            if (at >= buffers_[tag] && at + length <= buffers_[tag] + io_bytes_max) return;
        }
        ASSERT(false);  // outside every tag's buffer
    }

    // The image answers everything, then the driver aborts.
    void finish() {
        pass();
        for (u32 turns = 0; armed_count() < depth; ++turns) {
            ASSERT(turns < 100'000);
            answer(0, 0);
            pass();
        }
        while (!world_.kernel.pending.empty()) {
            ASSERT(is_command(world_.kernel.pending.front()));
            world_.kernel.complete_first(wire::aborted);
            world_.pass();
        }
        ASSERT(queue_->closed());
    }

    DeviceUnderTest world_;
    const bool is_read_only_;
    std::array<wire::IoDescriptor, depth> descriptors_{};
    std::array<wire::IoDescriptor, depth> outstanding_{};
    std::array<bool, depth> is_outstanding_{};
    std::array<u64, depth> buffers_{};
    std::unique_ptr<Queue> queue_;
};

void play(std::string_view input) {
    sim::Script script(input);
    const auto shape = script.take<u8>();
    Player((shape & 1) != 0, (shape & 2) != 0).play(script);
}

}  // namespace
}  // namespace ringloop::ublk

extern "C" int LLVMFuzzerInitialize(int* count, char*** arguments);
extern "C" int LLVMFuzzerTestOneInput(const ringloop::u8* data, std::size_t size);

extern "C" int LLVMFuzzerInitialize(int* count, char*** arguments) {
    ringloop::sim::be_quiet(count, arguments);
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const ringloop::u8* data, std::size_t size) {
    ringloop::ublk::play({reinterpret_cast<const char*>(data), size});
    return 0;
}
