// One hardware queue on a scripted kernel: the test is the ublk driver and the backing in one.
#include "frontend/ublk/queue.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <cstring>

#include "sim/device_under_test.h"

namespace ringloop::ublk {
namespace {

namespace wire = abi::ublk;
using Code = io::Operation::Code;

constexpr u32 depth = 4;
constexpr u32 io_bytes_max = 64 * 1024;
constexpr u32 queue_id = 1;
constexpr io::FileRef char_file{.number = 77, .registered = false};

class UblkQueue : public ::testing::Test {
protected:
    UblkQueue() { make(wire::flag_ioctl_encode); }

    void TearDown() override {
        // Whatever the test left: requests fail, then the driver aborts.
        while (!world.kernel.pending.empty()) {
            const bool command = world.kernel.pending.front()->operation.code == Code::command;
            world.kernel.complete_first(command ? wire::aborted : -EIO);
            world.pass();
        }
    }

    void make(u64 flags, const cgroup::Issuers* issuers = nullptr) {
        const DeviceInfo info{
            .id = 3, .queues = 2, .depth = depth, .io_bytes_max = io_bytes_max, .flags = flags};
        auto made =
            Queue::create_on(world.shard(), char_file, info, queue_id, descriptors.data(), issuers);
        ASSERT_TRUE(made.has_value()) << made.error().message;
        queue = std::move(*made);
        queue->on_closed = [](void* count) { ++*static_cast<u32*>(count); };
        queue->on_closed_context = &closings;
    }

    static wire::IoCommand command_of(const io::Completion& completion) {
        return std::bit_cast<wire::IoCommand>(completion.operation.payload);
    }

    // The index of the armed command of `tag` among the pending operations; fails without one.
    std::size_t armed(u32 tag) {
        for (std::size_t i = 0; i < world.kernel.pending.size(); ++i) {
            const io::Completion& completion = *world.kernel.pending[i];
            if (completion.operation.code == Code::command && command_of(completion).tag == tag) {
                return i;
            }
        }
        ADD_FAILURE() << "no command armed for tag " << tag;
        return 0;
    }

    wire::IoCommand last_command(u32 tag) { return command_of(*world.kernel.pending[armed(tag)]); }

    void answer_command(u32 tag, i32 result) {
        world.kernel.complete(armed(tag), result);
        world.pass();
    }

    // The driver hands a request over.
    void deliver(u32 tag, u32 op_flags, u64 start_sector = 0, u32 sector_count = 0) {
        descriptors[tag] = {
            .op_flags = op_flags, .sector_count = sector_count, .start_sector = start_sector};
        answer_command(tag, wire::fetched);
    }

    // The newest pending operation that is not a command: what reached the backing.
    const io::Operation& on_backing() {
        for (auto i = world.kernel.pending.rbegin(); i != world.kernel.pending.rend(); ++i) {
            if ((*i)->operation.code != Code::command) return (*i)->operation;
        }
        static const io::Operation none;
        ADD_FAILURE() << "nothing reached the backing";
        return none;
    }

    void answer_backing(i32 result) {
        for (std::size_t i = 0; i < world.kernel.pending.size(); ++i) {
            if (world.kernel.pending[i]->operation.code == Code::command) continue;
            world.kernel.complete(i, result);
            world.pass();
            return;
        }
        ADD_FAILURE() << "nothing pending on the backing";
    }

    u64 commands_armed() const {
        u64 count = 0;
        for (const io::Completion* completion : world.kernel.pending) {
            if (completion->operation.code == Code::command) ++count;
        }
        return count;
    }

    sim::DeviceUnderTest world;
    std::array<wire::IoDescriptor, depth> descriptors{};
    std::unique_ptr<Queue> queue;
    u32 closings = 0;
};

TEST_F(UblkQueue, FetchesEveryTagOnceWithABufferOfItsOwn) {
    queue->start();
    ASSERT_EQ(world.kernel.pending.size(), depth);
    for (u32 tag = 0; tag < depth; ++tag) {
        const io::Completion& completion = *world.kernel.pending[tag];
        const wire::IoCommand command = command_of(completion);
        EXPECT_EQ(completion.operation.code, Code::command);
        EXPECT_EQ(completion.operation.file, char_file);
        EXPECT_EQ(completion.operation.command, wire::fetch.encoded);
        EXPECT_EQ(command.queue_id, queue_id);
        EXPECT_EQ(command.tag, tag);
        EXPECT_NE(command.address, 0u);
        EXPECT_TRUE(is_aligned(command.address, 4096));
        if (tag > 0) {
            const wire::IoCommand before = command_of(*world.kernel.pending[tag - 1]);
            EXPECT_GE(command.address, before.address + io_bytes_max);
        }
    }
    EXPECT_FALSE(queue->closed());
}

TEST_F(UblkQueue, UsesLegacyNumbersWhereTheDriverHasNoOthers) {
    make(0);
    queue->start();
    EXPECT_EQ(world.kernel.pending.front()->operation.command, wire::fetch.legacy);
    deliver(0, wire::op_flush);
    answer_backing(0);
    EXPECT_EQ(world.kernel.pending[armed(0)]->operation.command, wire::commit_and_fetch.legacy);
}

TEST_F(UblkQueue, ReadsIntoTheTagsBufferAndCommitsItsBytes) {
    queue->start();
    const u64 buffer = last_command(2).address;
    deliver(2, wire::op_read, 16, 8);
    EXPECT_EQ(on_backing().code, Code::read);
    EXPECT_EQ(on_backing().offset, 8192u);
    EXPECT_EQ(on_backing().length, 4096u);
    EXPECT_EQ(reinterpret_cast<u64>(on_backing().data), buffer);
    EXPECT_EQ(commands_armed(), depth - 1);

    answer_backing(4096);
    EXPECT_EQ(commands_armed(), depth);
    EXPECT_EQ(world.kernel.pending[armed(2)]->operation.command, wire::commit_and_fetch.encoded);
    EXPECT_EQ(last_command(2).result, 4096);
    EXPECT_EQ(last_command(2).address, buffer);
}

TEST_F(UblkQueue, WritesWhatTheDriverCopiedIntoTheTagsBuffer) {
    queue->start();
    const u64 buffer = last_command(1).address;
    deliver(1, wire::op_write, 0, 128);
    EXPECT_EQ(on_backing().code, Code::write);
    EXPECT_EQ(on_backing().length, io_bytes_max);
    EXPECT_EQ(reinterpret_cast<u64>(on_backing().data), buffer);
    answer_backing(io_bytes_max);
    EXPECT_EQ(last_command(1).result, i32{io_bytes_max});
}

TEST_F(UblkQueue, CommitsAFlushWithZero) {
    queue->start();
    deliver(0, wire::op_flush, ~u64{0});
    EXPECT_EQ(on_backing().code, Code::fdatasync);
    answer_backing(0);
    EXPECT_EQ(last_command(0).result, 0);
}

TEST_F(UblkQueue, CommitsTheErrorOfTheBacking) {
    queue->start();
    deliver(0, wire::op_write, 0, 8);
    answer_backing(-ENOSPC);
    EXPECT_EQ(last_command(0).result, -ENOSPC);
}

TEST_F(UblkQueue, CommitsAnErrorForAnOperationNobodyAdvertised) {
    queue->start();
    constexpr u32 zone_append = 13;
    deliver(0, zone_append, 0, 8);
    EXPECT_EQ(last_command(0).result, -EOPNOTSUPP);
    EXPECT_EQ(commands_armed(), depth);
}

TEST_F(UblkQueue, CommitsAnErrorForMoreDataThanTheBufferHolds) {
    queue->start();
    deliver(0, wire::op_read, 0, (io_bytes_max >> 9) + 1);
    EXPECT_EQ(last_command(0).result, -EINVAL);
}

// Adjacent requests travel as one, but not where they have different issuers.
TEST_F(UblkQueue, TellsTheEngineWhoIssuedARequest) {
    std::array<u64, std::size_t{2} * depth> slots{};
    const cgroup::Issuers issuers = cgroup::Issuers::on(slots.data(), 2, depth);
    for (const u64 neighbour : {42u, 43u}) {
        SCOPED_TRACE(neighbour);
        make(wire::flag_ioctl_encode, &issuers);
        queue->start();
        slots[queue_id * depth + 0] = 42;
        slots[queue_id * depth + 1] = neighbour;
        for (const u32 tag : {0u, 1u}) {
            descriptors[tag] = {
                .op_flags = wire::op_read, .sector_count = 8, .start_sector = u64{tag} * 8};
            world.kernel.complete(armed(tag), wire::fetched);
        }
        world.pass();
        const u64 operations = world.kernel.pending.size() - commands_armed();
        EXPECT_EQ(operations, neighbour == 42 ? 1u : 2u);
        TearDown();
    }
}

TEST_F(UblkQueue, ServesATagAgainAfterEveryCommit) {
    queue->start();
    for (u32 round = 0; round < 100; ++round) {
        deliver(3, wire::op_read, round * 8, 8);
        EXPECT_EQ(on_backing().offset, u64{round} * 4096);
        answer_backing(4096);
        EXPECT_EQ(last_command(3).result, 4096);
    }
}

TEST_F(UblkQueue, ClosesOnceWhenTheDriverAbortedEveryFetch) {
    queue->start();
    for (u32 tag = 0; tag < depth; ++tag) {
        EXPECT_FALSE(queue->closed());
        answer_command(tag, wire::aborted);
    }
    EXPECT_TRUE(queue->closed());
    EXPECT_EQ(closings, 1u);
    EXPECT_TRUE(world.kernel.pending.empty());
}

TEST_F(UblkQueue, StaysOpenUntilTheRequestInFlightWasCommittedAndAborted) {
    queue->start();
    deliver(0, wire::op_write, 0, 8);
    for (u32 tag = 1; tag < depth; ++tag) answer_command(tag, wire::aborted);
    EXPECT_FALSE(queue->closed());

    answer_backing(4096);
    EXPECT_EQ(last_command(0).result, 4096);
    EXPECT_FALSE(queue->closed());
    answer_command(0, wire::aborted);
    EXPECT_TRUE(queue->closed());
    EXPECT_EQ(closings, 1u);
}

TEST_F(UblkQueue, NeverFetchesATagAgainWhoseCommandWasRefused) {
    queue->start();
    answer_command(0, -EBUSY);
    answer_command(1, -EINVAL);
    EXPECT_EQ(commands_armed(), depth - 2);
    answer_command(2, wire::aborted);
    answer_command(3, wire::aborted);
    EXPECT_TRUE(queue->closed());
}

}  // namespace
}  // namespace ringloop::ublk
