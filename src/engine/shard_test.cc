// The life of a request on a scripted kernel: every order, short transfer and error decides what is
// acknowledged, and each request is answered once.
#include "engine/shard.h"

#include <fcntl.h>
#include <gtest/gtest.h>

#include <cstring>

#include "sim/device_under_test.h"

namespace ringloop::engine {
namespace {

using Code = io::Operation::Code;
using sim::DeviceUnderTest;
using sim::TestRequest;

class ShardTest : public ::testing::Test {
protected:
    explicit ShardTest(backing::Options options = {}) : world(std::move(options)) {}

    void TearDown() override {
        // Nothing may be left behind, whatever the test did to the requests.
        while (!world.kernel.pending.empty()) {
            world.kernel.complete_first(-EIO);
            world.pass();
        }
    }

    TestRequest& request(Op op, u64 offset, u64 length, bool fua = false) {
        TestRequest& made = requests[used];
        made.op = op;
        made.fua = fua;
        made.range = {offset, length};
        made.buffer = world.buffer(used++);
        return made;
    }

    TestRequest& submit(Op op, u64 offset = 0, u64 length = 0, bool fua = false) {
        TestRequest& made = request(op, offset, length, fua);
        world.shard().submit(made);
        return made;
    }

    // Submits alone in a pass and returns what reached the backing.
    TestRequest& start(Op op, u64 offset = 0, u64 length = 0, bool fua = false) {
        TestRequest& made = submit(op, offset, length, fua);
        world.pass();
        return made;
    }

    const io::Operation& operation(std::size_t index = 0) {
        return world.kernel.pending.at(index)->operation;
    }

    void complete(i32 result) {
        world.kernel.complete_first(result);
        world.pass();
    }

    void expect_answer(const TestRequest& answered, Errno result) {
        EXPECT_EQ(answered.answers, 1u);
        EXPECT_EQ(answered.result, result);
    }

    DeviceUnderTest world;
    std::array<TestRequest, DeviceUnderTest::slots_max> requests;
    u32 used = 0;
};

TEST_F(ShardTest, AnswersAReadOnceItsBytesArrived) {
    TestRequest& read = start(Op::read, 8192, 4096);
    ASSERT_EQ(world.kernel.pending.size(), 1u);
    EXPECT_EQ(operation().code, Code::read);
    EXPECT_EQ(operation().offset, 8192u);
    EXPECT_EQ(operation().length, 4096u);
    EXPECT_EQ(operation().data, read.buffer);
    EXPECT_EQ(read.answers, 0u);
    complete(4096);
    expect_answer(read, Errno::ok);
}

TEST_F(ShardTest, SubmitsNothingUntilThePassEnds) {
    submit(Op::write, 0, 4096);
    EXPECT_EQ(world.kernel.pending.size(), 0u);
    world.pass();
    EXPECT_EQ(world.kernel.pending.size(), 1u);
}

TEST_F(ShardTest, ContinuesAShortWriteAtEveryLengthAndNeverAcknowledgesIt) {
    for (const i32 first : {1, 511, 512, 4095}) {
        used = 0;
        requests[0].answers = 0;
        TestRequest& write = start(Op::write, 4096, 4096);
        complete(first);
        EXPECT_EQ(write.answers, 0u) << first;
        const auto moved = static_cast<u64>(first);
        ASSERT_EQ(world.kernel.pending.size(), 1u);
        EXPECT_EQ(operation().offset, 4096 + moved);
        EXPECT_EQ(operation().length, 4096 - moved);
        EXPECT_EQ(operation().data, write.buffer + moved);
        complete(4096 - first);
        expect_answer(write, Errno::ok);
    }
}

TEST_F(ShardTest, ReportsTheErrorBehindAShortWrite) {
    TestRequest& write = start(Op::write, 0, 8192);
    complete(4096);
    complete(-ENOSPC);
    expect_answer(write, Errno::no_space);
    EXPECT_EQ(world.shard().stats().of(Op::write).errors.get(), 1u);
    EXPECT_EQ(world.shard().stats().of(Op::write).bytes.get(), 0u);
}

TEST_F(ShardTest, TreatsAWriteOfNothingAsAFailure) {
    TestRequest& write = start(Op::write, 0, 4096);
    complete(0);
    expect_answer(write, Errno::io);
}

TEST_F(ShardTest, ClearsTheRestOfAReadBehindTheEndOfATruncatedImage) {
    TestRequest& read = request(Op::read, 0, 8192);
    std::memset(read.buffer, 0x5a, 8192);
    world.shard().submit(read);
    world.pass();
    complete(4096);
    complete(0);
    expect_answer(read, Errno::io);
    EXPECT_EQ(read.buffer[4095], std::byte{0x5a});
    EXPECT_EQ(read.buffer[4096], std::byte{0});
    EXPECT_EQ(read.buffer[8191], std::byte{0});
}

TEST_F(ShardTest, WritesNothingBehindTheKnownEndOfATruncatedImage) {
    Device& device = world.device();
    const u64 size = device.geometry().size;
    start(Op::write, size - 4096, 4096);
    complete(4096);
    expect_answer(requests[0], Errno::ok);
    start(Op::read, size - 8192, 8192);
    complete(4096);
    complete(0);
    EXPECT_EQ(device.troubles().end, size - 4096);
    for (const Op op : {Op::write, Op::write_zeroes}) {
        TestRequest& beyond = submit(op, size - 4096, 4096);
        world.pass();
        expect_answer(beyond, Errno::io);
    }
    EXPECT_TRUE(world.kernel.pending.empty()) << "none of it reached the image";
    TestRequest& before = start(Op::write, size - 8192, 4096);
    complete(4096);
    expect_answer(before, Errno::ok);
    // It may have been made long again: a read asks the image.
    TestRequest& read = start(Op::read, size - 4096, 4096);
    complete(4096);
    expect_answer(read, Errno::ok);
    device.forget_end();
    TestRequest& again = start(Op::write, size - 4096, 4096);
    complete(4096);
    expect_answer(again, Errno::ok);
}

TEST_F(ShardTest, CountsWhatTheImageFailedAndTellsOnce) {
    Device& device = world.device();
    u32 told = 0;
    device.on_trouble = [](void* count) { ++*static_cast<u32*>(count); };
    device.on_trouble_context = &told;
    TestRequest& outside = submit(Op::read, device.geometry().size, 4096);
    world.pass();
    expect_answer(outside, Errno::invalid);
    EXPECT_EQ(device.troubles().failures, 0u) << "that was the client's mistake";
    start(Op::write, 0, 4096);
    complete(-ENOSPC);
    start(Op::read, 0, 4096);
    complete(-EIO);
    const Device::Troubles troubles = device.troubles();
    EXPECT_EQ(troubles.failures, 2u);
    EXPECT_EQ(troubles.op, Op::write);
    EXPECT_EQ(troubles.error, Errno::no_space);
    EXPECT_GT(troubles.since_s, 1'700'000'000u);
    EXPECT_EQ(told, 1u);
    device.image_changed();
    EXPECT_EQ(device.troubles().failures, 0u);
}

TEST_F(ShardTest, TriesAgainWhenInterrupted) {
    TestRequest& read = start(Op::read, 0, 4096);
    complete(-EINTR);
    EXPECT_EQ(read.answers, 0u);
    complete(4096);
    expect_answer(read, Errno::ok);
}

TEST_F(ShardTest, LetsTheKernelBlockForWhatWouldBlock) {
    TestRequest& write = start(Op::write, 0, 4096);
    EXPECT_FALSE(operation().force_async);
    complete(-EAGAIN);
    EXPECT_TRUE(operation().force_async);
    complete(4096);
    expect_answer(write, Errno::ok);
}

TEST_F(ShardTest, NeverPassesEagainToAClient) {
    TestRequest& write = start(Op::write, 0, 4096);
    u32 attempts = 0;
    while (!world.kernel.pending.empty() && ++attempts < 100) complete(-EAGAIN);
    EXPECT_EQ(attempts, retries_max + 2);  // the first one was only a try
    expect_answer(write, Errno::io);
}

TEST_F(ShardTest, KeepsEachErrorOfTheBackingAsItIs) {
    const i32 numbers[] = {EIO, ENOSPC, EDQUOT, EROFS, ENOMEM, EFBIG, ESTALE};
    for (const i32 number : numbers) {
        used = 0;
        requests[0].answers = 0;
        TestRequest& write = start(Op::write, 0, 4096);
        complete(-number);
        EXPECT_EQ(to_number(write.result), number);
    }
}

TEST_F(ShardTest, RefusesWhatLiesOutsideTheDevice) {
    const u64 size = world.device().geometry().size;
    TestRequest& read = submit(Op::read, size, 4096);
    TestRequest& wraps = submit(Op::read, ~u64{0} - 511, 1024);
    TestRequest& write = submit(Op::write, size - 4096, 8192);
    TestRequest& discard = submit(Op::discard, size, 512);
    TestRequest& last = submit(Op::read, size - 512, 512);
    EXPECT_EQ(read.answers, 0u) << "answers come from the loop, not from submit";
    world.pass();
    expect_answer(read, Errno::invalid);
    expect_answer(wraps, Errno::invalid);
    expect_answer(write, Errno::no_space);
    expect_answer(discard, Errno::invalid);
    EXPECT_EQ(last.answers, 0u);
    complete(512);
    expect_answer(last, Errno::ok);
}

TEST_F(ShardTest, RefusesUnalignedRanges) {
    TestRequest& offset = submit(Op::read, 100, 512);
    TestRequest& length = submit(Op::write, 0, 100);
    world.pass();
    expect_answer(offset, Errno::invalid);
    expect_answer(length, Errno::invalid);
}

TEST_F(ShardTest, AnswersAnEmptyRequestWithoutTheBacking) {
    TestRequest& read = start(Op::read, 0, 0);
    EXPECT_EQ(world.kernel.submitted_count, 0u);
    expect_answer(read, Errno::ok);
}

TEST_F(ShardTest, MergesAPassIntoOneVectoredOperation) {
    TestRequest& first = submit(Op::write, 0, 4096);
    TestRequest& second = submit(Op::write, 4096, 8192);
    world.pass();
    ASSERT_EQ(world.kernel.pending.size(), 1u);
    EXPECT_EQ(operation().code, Code::writev);
    ASSERT_EQ(operation().vector_count, 2u);
    EXPECT_EQ(operation().vectors[1].iov_base, second.buffer);
    EXPECT_EQ(operation().vectors[1].iov_len, 8192u);
    complete(12288);
    expect_answer(first, Errno::ok);
    expect_answer(second, Errno::ok);
}

TEST_F(ShardTest, AnswersThoseWhoseBytesArrivedBeforeTheRestIsContinued) {
    TestRequest& first = submit(Op::read, 0, 4096);
    TestRequest& second = submit(Op::read, 4096, 4096);
    world.pass();
    complete(4096 + 512);
    expect_answer(first, Errno::ok);
    EXPECT_EQ(second.answers, 0u);
    EXPECT_EQ(operation().offset, 4096u + 512);
    EXPECT_EQ(operation().length, 4096u - 512);
    EXPECT_EQ(operation().data, second.buffer + 512);
    complete(4096 - 512);
    expect_answer(second, Errno::ok);
}

TEST_F(ShardTest, FailsOnlyTheRequestThatFailsAlone) {
    TestRequest& first = submit(Op::read, 0, 4096);
    TestRequest& second = submit(Op::read, 4096, 4096);
    TestRequest& third = submit(Op::read, 8192, 4096);
    world.pass();
    complete(-EIO);
    ASSERT_EQ(world.kernel.pending.size(), 3u);
    world.kernel.complete(2, 4096);
    world.kernel.complete(1, -EIO);
    world.kernel.complete(0, 4096);
    world.pass();
    expect_answer(first, Errno::ok);
    expect_answer(second, Errno::io);
    expect_answer(third, Errno::ok);
}

TEST_F(ShardTest, AnswersInWhateverOrderTheKernelCompletes) {
    std::vector<TestRequest*> writes;
    for (u64 i = 0; i < 8; ++i) writes.push_back(&submit(Op::write, i * 64 * kib, 4096));
    world.pass();
    for (std::size_t left = 8; left > 0; --left) {
        world.kernel.complete(left - 1, 4096);
        world.pass();
        expect_answer(*writes[left - 1], Errno::ok);
    }
}

TEST_F(ShardTest, SyncsForAFlushAndAnswersAfterIt) {
    TestRequest& flush = start(Op::flush);
    ASSERT_EQ(world.kernel.pending.size(), 1u);
    EXPECT_EQ(operation().code, Code::fdatasync);
    EXPECT_EQ(flush.answers, 0u);
    complete(0);
    expect_answer(flush, Errno::ok);
}

TEST_F(ShardTest, FailsEveryFlushAfterAFailedSync) {
    TestRequest& failed = start(Op::flush);
    complete(-EIO);
    expect_answer(failed, Errno::io);
    EXPECT_TRUE(world.device().poisoned());
    TestRequest& later = start(Op::flush);
    expect_answer(later, Errno::io);
    TestRequest& fua = start(Op::write, 0, 4096, true);
    expect_answer(fua, Errno::io);
    TestRequest& plain = start(Op::write, 0, 4096);
    complete(4096);
    expect_answer(plain, Errno::ok);
}

// Of the kernel, who tells of lost pages only once, a sync at detach would hear nothing.
TEST_F(ShardTest, FailsTheLastSyncAfterAFailedSync) {
    EXPECT_TRUE(world.device().sync_at_end());
    world.device().poison(Errno::io);
    EXPECT_FALSE(world.device().sync_at_end());
}

TEST_F(ShardTest, FailsAFlushWhoseSyncSucceededAfterAnotherShardsFailed) {
    TestRequest& flush = start(Op::flush);
    world.device().poison(Errno::io);
    complete(0);
    expect_answer(flush, Errno::io);
}

TEST_F(ShardTest, RepeatsAnInterruptedSync) {
    TestRequest& flush = start(Op::flush);
    complete(-EINTR);
    EXPECT_EQ(flush.answers, 0u);
    complete(0);
    expect_answer(flush, Errno::ok);
    EXPECT_FALSE(world.device().poisoned());
}

TEST_F(ShardTest, PunchesForADiscard) {
    TestRequest& discard = start(Op::discard, 4096, 8192);
    EXPECT_EQ(operation().code, Code::fallocate);
    EXPECT_EQ(operation().mode, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE);
    EXPECT_EQ(operation().offset, 4096u);
    EXPECT_EQ(operation().length, 8192u);
    complete(0);
    expect_answer(discard, Errno::ok);
}

TEST_F(ShardTest, KeepsBlocksAllocatedWhenZeroesMustNotUnmap) {
    TestRequest& zeroes = request(Op::write_zeroes, 0, 8192);
    zeroes.no_unmap = true;
    world.shard().submit(zeroes);
    world.pass();
    EXPECT_EQ(operation().mode, FALLOC_FL_ZERO_RANGE | FALLOC_FL_KEEP_SIZE);
    complete(0);
    expect_answer(zeroes, Errno::ok);
}

TEST_F(ShardTest, WritesZeroesWhereTheBackingCannotZeroARange) {
    TestRequest& zeroes = request(Op::write_zeroes, 4096, 5 * mib);
    zeroes.no_unmap = true;
    world.shard().submit(zeroes);
    world.pass();
    complete(-EOPNOTSUPP);
    u64 offset = 4096;
    while (zeroes.answers == 0) {
        ASSERT_EQ(world.kernel.pending.size(), 1u);
        EXPECT_EQ(operation().code, Code::writev);
        EXPECT_EQ(operation().offset, offset);
        EXPECT_EQ(*static_cast<const std::byte*>(operation().vectors[0].iov_base), std::byte{0});
        offset += operation().length;
        complete(static_cast<i32>(operation().length));
    }
    EXPECT_EQ(offset, 4096 + 5 * mib);
    expect_answer(zeroes, Errno::ok);

    TestRequest& next = request(Op::write_zeroes, 0, 4096);
    next.no_unmap = true;
    world.shard().submit(next);
    world.pass();
    EXPECT_NE(operation().code, Code::fallocate) << "what is not supported is not tried again";
    complete(4096);
    expect_answer(next, Errno::ok);
}

TEST_F(ShardTest, RefusesZeroesThatWouldNotBeFast) {
    TestRequest& zeroes = request(Op::write_zeroes, 0, 8192);
    zeroes.fast_zero = true;
    zeroes.no_unmap = true;
    world.shard().submit(zeroes);
    world.pass();
    complete(-EOPNOTSUPP);
    expect_answer(zeroes, Errno::not_supported);
    EXPECT_TRUE(world.kernel.pending.empty());
}

TEST_F(ShardTest, TellsTheKernelWhatWillBeRead) {
    TestRequest& prefetch = start(Op::prefetch, 4096, 8192);
    EXPECT_EQ(operation().code, Code::prefetch);
    EXPECT_EQ(operation().length, 8192u);
    complete(0);
    expect_answer(prefetch, Errno::ok);
}

TEST_F(ShardTest, ActsOnceAtTheEndOfAPassForWhoeverAsked) {
    struct Counted : PassEnd {
        u32 count = 0;
    } counted;
    counted.run = [](PassEnd& end) { ++static_cast<Counted&>(end).count; };
    world.shard().at_pass_end(counted);
    world.shard().at_pass_end(counted);
    EXPECT_EQ(counted.count, 0u);
    world.pass();
    world.pass();
    EXPECT_EQ(counted.count, 1u);
}

TEST_F(ShardTest, HoldsRequestsWhileFrozenAndServesThemAfterwards) {
    TestRequest& before = start(Op::write, 0, 4096);
    u32 frozen = 0;
    world.shard().freeze([](void* count) { ++*static_cast<u32*>(count); }, &frozen);
    TestRequest& held = start(Op::write, 4096, 4096);
    EXPECT_EQ(world.kernel.pending.size(), 1u) << "only the one from before is in flight";
    EXPECT_EQ(frozen, 0u);
    complete(4096);
    expect_answer(before, Errno::ok);
    EXPECT_EQ(frozen, 1u);
    EXPECT_EQ(held.answers, 0u);
    world.shard().thaw();
    world.pass();
    complete(4096);
    expect_answer(held, Errno::ok);
}

TEST_F(ShardTest, CountsWhatIsInFlight) {
    start(Op::write, 0, 4096);
    const ShardStats& stats = world.shard().stats();
    EXPECT_EQ(stats.started.get() - stats.finished.get(), 1u);
    complete(4096);
    EXPECT_EQ(stats.started.get() - stats.finished.get(), 0u);
    EXPECT_EQ(stats.of(Op::write).bytes.get(), 4096u);
}

class BufferedShardTest : public ShardTest {
protected:
    BufferedShardTest() : ShardTest({.direct_io = backing::DirectIo::off}) {}
};

TEST_F(BufferedShardTest, TriesThePageCacheOnItsOwnThreadAndGoesToTheRingOnAMiss) {
    TestRequest& hit = start(Op::read, 0, 4096);
    EXPECT_TRUE(operation().on_thread);
    EXPECT_EQ(operation().rw_flags, static_cast<u32>(RWF_NOWAIT));
    complete(4096);
    expect_answer(hit, Errno::ok);

    TestRequest& miss = start(Op::read, 0, 4096);
    complete(-EAGAIN);
    ASSERT_EQ(world.kernel.pending.size(), 1u);
    EXPECT_FALSE(operation().on_thread);
    EXPECT_FALSE(operation().force_async);
    EXPECT_EQ(operation().rw_flags, 0u);
    complete(4096);
    expect_answer(miss, Errno::ok);

    // The next one is not tried: a cold image would pay for every try.
    start(Op::read, 0, 4096);
    EXPECT_FALSE(operation().on_thread);
}

TEST_F(BufferedShardTest, CallsWithoutTheFlagWhereTheFilesystemRefusesItForWrites) {
    TestRequest& write = start(Op::write, 0, 4096);
    EXPECT_EQ(operation().rw_flags, static_cast<u32>(RWF_NOWAIT));
    complete(-EOPNOTSUPP);
    EXPECT_FALSE(operation().on_thread);
    complete(4096);
    expect_answer(write, Errno::ok);

    start(Op::write, 0, 4096);
    EXPECT_TRUE(operation().on_thread);
    EXPECT_EQ(operation().rw_flags, 0u);
    world.kernel.pending.front()->call_ns = 50'000'000;  // it blocked
    complete(4096);
    start(Op::write, 0, 4096);
    EXPECT_FALSE(operation().on_thread);
}

TEST_F(BufferedShardTest, LeavesLongTransfersToTheRing) {
    start(Op::read, 0, 512 * kib);
    EXPECT_FALSE(operation().on_thread);
}

TEST_F(BufferedShardTest, SyncsBehindAFuaWriteBeforeItIsAcknowledged) {
    TestRequest& write = start(Op::write, 0, 4096, true);
    EXPECT_EQ(operation().rw_flags & static_cast<u32>(RWF_DSYNC), 0u);
    complete(4096);
    EXPECT_EQ(write.answers, 0u);
    EXPECT_EQ(operation().code, Code::fdatasync);
    complete(0);
    expect_answer(write, Errno::ok);
}

TEST_F(BufferedShardTest, KeepsFlushesAliveAfterAFuaWriteFoundNoSpace) {
    TestRequest& write = start(Op::write, 0, 4096, true);
    complete(-ENOSPC);
    expect_answer(write, Errno::no_space);
    EXPECT_FALSE(world.device().poisoned());
}

class DirectShardTest : public ShardTest {
protected:
    void SetUp() override {
        if (!world.device().geometry().direct) {
            GTEST_SKIP() << "no direct I/O here: " << world.device().geometry().direct_reason;
        }
    }
};

TEST_F(DirectShardTest, WritesDurablyForFua) {
    TestRequest& write = start(Op::write, 0, 4096, true);
    EXPECT_NE(operation().rw_flags & static_cast<u32>(RWF_DSYNC), 0u);
    complete(4096);
    expect_answer(write, Errno::ok);
}

TEST_F(DirectShardTest, PoisonsWhenADurableWriteFails) {
    start(Op::write, 0, 4096, true);
    complete(-EIO);
    EXPECT_TRUE(world.device().poisoned());
}

TEST_F(DirectShardTest, GoesOnBufferedWhenAnAlignedDirectOperationIsRefused) {
    TestRequest& write = start(Op::write, 0, 4096);
    const io::FileRef direct = operation().file;
    complete(-EINVAL);
    EXPECT_EQ(write.answers, 0u);
    EXPECT_NE(operation().file, direct);
    complete(4096);
    expect_answer(write, Errno::ok);
    EXPECT_FALSE(world.device().backing().direct_now());
}

class ReadOnlyShardTest : public ShardTest {
protected:
    ReadOnlyShardTest() : ShardTest({.read_only = true}) {}
};

TEST_F(ReadOnlyShardTest, RefusesEverythingThatChangesData) {
    TestRequest& write = submit(Op::write, 0, 4096);
    TestRequest& discard = submit(Op::discard, 0, 4096);
    TestRequest& zeroes = submit(Op::write_zeroes, 0, 4096);
    TestRequest& flush = submit(Op::flush);
    world.pass();
    expect_answer(write, Errno::read_only);
    expect_answer(discard, Errno::read_only);
    expect_answer(zeroes, Errno::read_only);
    expect_answer(flush, Errno::ok);
    EXPECT_EQ(world.kernel.submitted_count, 0u);
}

}  // namespace
}  // namespace ringloop::engine
