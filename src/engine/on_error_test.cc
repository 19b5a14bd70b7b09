// What a device does with requests that its image does not carry out, on a scripted kernel: they
// wait for room and are answered once, or none changes anything after the first that failed.
#include "engine/on_error.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "sim/device_under_test.h"

namespace ringloop::engine {
namespace {

using Code = io::Operation::Code;
using sim::DeviceUnderTest;
using sim::TestRequest;

class OnErrorTest : public ::testing::TestWithParam<i32> {
protected:
    explicit OnErrorTest(OnError on_error = OnError::pause) {
        world.device().set_on_error(on_error);
        world.device().on_trouble = [](void* count) { ++*static_cast<u32*>(count); };
        world.device().on_trouble_context = &troubles;
    }

    void TearDown() override {
        world.device().set_on_error(OnError::report);
        while (!world.kernel.pending.empty()) {
            world.kernel.complete_first(-EIO);
            world.pass();
        }
    }

    TestRequest& start(Op op, u64 offset = 0, u64 length = 4096, bool fua = false) {
        TestRequest& made = requests[used];
        made.op = op;
        made.fua = fua;
        made.range = {offset, length};
        made.buffer = world.buffer(used++);
        world.shard().submit(made);
        world.pass();
        return made;
    }

    // The index of the only one of this kind that is with the kernel.
    std::size_t find(Code code) {
        std::size_t found = world.kernel.pending.size();
        for (std::size_t i = 0; i < world.kernel.pending.size(); ++i) {
            if (world.kernel.pending[i]->operation.code != code) continue;
            EXPECT_EQ(found, world.kernel.pending.size()) << "there are several";
            found = i;
        }
        return found;
    }
    bool pending(Code code) { return find(code) < world.kernel.pending.size(); }
    void complete(Code code, i32 result) {
        world.kernel.complete(find(code), result);
        world.pass();
    }
    // As often as it is tried in another way.
    void refuse_write(i32 error) {
        while (pending(Code::write)) complete(Code::write, -error);
    }
    u64 held() { return world.device().paused().requests; }

    DeviceUnderTest world;
    std::array<TestRequest, DeviceUnderTest::slots_max> requests;
    u32 used = 0;
    u32 troubles = 0;
};

INSTANTIATE_TEST_SUITE_P(Errors, OnErrorTest, ::testing::Values(ENOSPC, EDQUOT));

TEST_P(OnErrorTest, AWriteWithoutRoomIsTriedEachSecondUntilThereIsSome) {
    TestRequest& write = start(Op::write);
    refuse_write(GetParam());
    EXPECT_EQ(write.answers, 0u);
    EXPECT_EQ(held(), 1u);
    EXPECT_EQ(world.device().paused().error, errno_from(GetParam()));
    EXPECT_EQ(world.device().troubles().failures, 0u) << "nobody was told of a failure";
    ASSERT_TRUE(pending(Code::timeout));
    EXPECT_EQ(world.kernel.pending[find(Code::timeout)]->operation.payload[0], held_retry_s);

    complete(Code::timeout, -ETIME);
    refuse_write(GetParam());
    EXPECT_EQ(write.answers, 0u);
    EXPECT_EQ(troubles, 1u) << "what goes on is told once";
    complete(Code::timeout, -ETIME);
    complete(Code::write, 4096);
    EXPECT_EQ(write.answers, 1u);
    EXPECT_EQ(write.result, Errno::ok);
    EXPECT_EQ(held(), 0u);
    EXPECT_EQ(troubles, 2u);
    EXPECT_EQ(world.shard().stats().of(Op::write).errors.get(), 0u);
    EXPECT_FALSE(pending(Code::timeout)) << "the clock does not run for nobody";
}

TEST_F(OnErrorTest, OthersGoOnWhileAWriteWaits) {
    start(Op::write);
    refuse_write(ENOSPC);
    TestRequest& read = start(Op::read, 8192);
    complete(Code::read, 4096);
    EXPECT_EQ(read.answers, 1u);
    TestRequest& later = start(Op::write, 8192);
    complete(Code::write, 4096);
    EXPECT_EQ(later.answers, 1u) << "it may need no room";
    TestRequest& flush = start(Op::flush, 0, 0);
    complete(Code::fdatasync, 0);
    EXPECT_EQ(flush.answers, 1u) << "the write that waits was never acknowledged";
    EXPECT_EQ(flush.result, Errno::ok);
    EXPECT_EQ(held(), 1u);
}

// What of a merged transfer found room was written all the same; nothing is answered by halves.
TEST_F(OnErrorTest, AWriteIsTriedAgainFromItsFirstByte) {
    TestRequest& write = start(Op::write, 4096, 8192);
    complete(Code::write, 4096);
    refuse_write(ENOSPC);
    EXPECT_EQ(write.answers, 0u);
    complete(Code::timeout, -ETIME);
    const io::Operation& again = world.kernel.pending[find(Code::write)]->operation;
    EXPECT_EQ(again.offset, 4096u);
    EXPECT_EQ(again.length, 8192u);
    complete(Code::write, 8192);
    EXPECT_EQ(write.answers, 1u);
}

TEST_F(OnErrorTest, OnlyWantOfRoomIsWaitedFor) {
    TestRequest& write = start(Op::write);
    refuse_write(EIO);
    EXPECT_EQ(write.result, Errno::io);
    TestRequest& beyond = start(Op::write, DeviceUnderTest::image_bytes);
    EXPECT_EQ(beyond.answers, 1u) << "no room ever comes behind the end";
    EXPECT_EQ(beyond.result, Errno::no_space);
    EXPECT_EQ(held(), 0u);
    EXPECT_FALSE(pending(Code::timeout));
}

// The kernel may have dropped what it could not write: a second sync would succeed without it.
TEST_F(OnErrorTest, ASyncWithoutRoomIsAFailureAndNotAWait) {
    TestRequest& flush = start(Op::flush, 0, 0);
    complete(Code::fdatasync, -ENOSPC);
    EXPECT_EQ(flush.answers, 1u);
    EXPECT_EQ(flush.result, Errno::no_space);
    EXPECT_TRUE(world.device().poisoned());
    TestRequest& fua = start(Op::write, 0, 4096, true);
    EXPECT_EQ(fua.answers, 1u);
    EXPECT_EQ(fua.result, Errno::io);
    EXPECT_EQ(held(), 0u);
}

TEST_F(OnErrorTest, AFreezeDoesNotWaitForThemAndAThawTriesThem) {
    TestRequest& write = start(Op::write);
    refuse_write(ENOSPC);
    bool frozen = false;
    world.shard().freeze([](void* flag) { *static_cast<bool*>(flag) = true; }, &frozen);
    world.pass();
    EXPECT_TRUE(frozen);
    complete(Code::timeout, -ETIME);
    EXPECT_FALSE(pending(Code::write)) << "nothing starts while all is frozen";
    world.shard().thaw();
    world.pass();
    complete(Code::write, 4096);
    EXPECT_EQ(write.answers, 1u);
}

TEST_F(OnErrorTest, AnotherChoiceEndsTheWait) {
    TestRequest& write = start(Op::write);
    refuse_write(ENOSPC);
    world.device().set_on_error(OnError::report);
    world.shard().retry_held();
    world.pass();
    refuse_write(ENOSPC);
    EXPECT_EQ(write.answers, 1u);
    EXPECT_EQ(write.result, Errno::no_space);
    EXPECT_EQ(held(), 0u);
    EXPECT_EQ(world.device().troubles().failures, 1u);
}

TEST_F(OnErrorTest, WhoIsImpatientIsAnsweredAndTheOthersWait) {
    TestRequest& first = start(Op::write);
    refuse_write(ENOSPC);
    TestRequest& second = start(Op::write, 8192);
    refuse_write(ENOSPC);
    EXPECT_EQ(held(), 2u);
    first.impatient = true;
    world.shard().answer_impatient();
    world.pass();
    EXPECT_EQ(first.answers, 1u);
    EXPECT_EQ(first.result, Errno::no_space);
    EXPECT_EQ(second.answers, 0u);
    EXPECT_EQ(held(), 1u);
}

TEST_F(OnErrorTest, ALoopThatEndsTriesThemOnceMoreAndStopsTheClock) {
    TestRequest& write = start(Op::write);
    refuse_write(ENOSPC);
    world.shard().stop();
    world.pass();
    ASSERT_TRUE(pending(Code::write));
    refuse_write(ENOSPC);
    EXPECT_EQ(write.answers, 1u);
    ASSERT_TRUE(pending(Code::cancel));
    complete(Code::cancel, 0);
    complete(Code::timeout, -ECANCELED);
    EXPECT_TRUE(world.kernel.pending.empty());
}

class StopTest : public OnErrorTest {
protected:
    StopTest() : OnErrorTest(OnError::stop) {}
    void expect_refused(Op op, u64 length, Errno result) {
        TestRequest& request = start(op, 0, length);
        EXPECT_EQ(request.answers, 1u) << name_of(op);
        EXPECT_EQ(request.result, result) << name_of(op);
    }
};

TEST_F(StopTest, AfterTheFirstFailureNothingChangesTheImage) {
    TestRequest& before = start(Op::write, 8192);
    refuse_write(EIO);
    EXPECT_EQ(before.result, Errno::io);
    EXPECT_TRUE(world.device().stopped());
    EXPECT_EQ(world.device().stop_cause().op, Op::write);
    EXPECT_EQ(world.device().stop_cause().error, Errno::io);
    EXPECT_EQ(troubles, 2u);
    for (const Op op : {Op::write, Op::write_zeroes, Op::discard}) {
        expect_refused(op, 4096, Errno::io);
    }
    expect_refused(Op::flush, 0, Errno::io);
    EXPECT_TRUE(world.kernel.pending.empty()) << "nothing reached the image";
    TestRequest& read = start(Op::read);
    complete(Code::read, 4096);
    EXPECT_EQ(read.result, Errno::ok);
}

TEST_F(StopTest, GoesOnWhenItIsTold) {
    start(Op::write);
    refuse_write(ENOSPC);
    EXPECT_TRUE(world.device().stopped()) << "want of room is a failure like any other";
    world.device().note_end(64 * kib);
    world.device().go_on();
    EXPECT_FALSE(world.device().stopped());
    EXPECT_EQ(world.device().troubles().failures, 0u);
    EXPECT_EQ(world.device().troubles().end, 64 * kib) << "that is looked at, not remembered";
    TestRequest& write = start(Op::write);
    complete(Code::write, 4096);
    EXPECT_EQ(write.result, Errno::ok);
    world.device().forget_end();
    EXPECT_EQ(world.device().troubles().end, ~u64{0});
}

TEST_F(StopTest, AFailedReadStopsNothing) {
    TestRequest& read = start(Op::read);
    while (pending(Code::read)) complete(Code::read, -EIO);
    EXPECT_EQ(read.result, Errno::io);
    EXPECT_FALSE(world.device().stopped());
}

TEST_F(StopTest, IsInheritedAndOutlivesAnotherImage) {
    world.device().inherit_stop();
    world.device().image_changed();
    world.device().forget_end();
    EXPECT_TRUE(world.device().stopped());
    expect_refused(Op::write, 4096, Errno::io);
}

}  // namespace
}  // namespace ringloop::engine
