// Which way an operation takes under each policy, what becomes of a try that would have blocked,
// and that the bound and the counters hold whatever the kernel answers.
#include "engine/dispatch.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <random>
#include <tuple>

#include "sim/device_under_test.h"

namespace ringloop::engine {
namespace {

using Code = io::Operation::Code;
using sim::DeviceUnderTest;
using sim::TestRequest;

const Policy* policy(const char* name) {
    const auto found = find_policy(name);
    EXPECT_TRUE(found.has_value()) << name;
    return found ? *found : &default_policy();
}

class DispatchTest : public ::testing::Test {
protected:
    explicit DispatchTest(backing::DirectIo direct = backing::DirectIo::on)
        : world({.direct_io = direct}) {}

    void TearDown() override {
        while (!world.kernel.pending.empty()) complete(-EIO);
        EXPECT_EQ(world.device().blocking_writes(), 0u);
        EXPECT_EQ(stats().workers_now.get(), 0u);
    }

    // As a live change does it.
    void use(const char* name, u32 workers = 0, u32 shards = 1) {
        const Policy* chosen = policy(name);
        world.shard().freeze([](void*) {}, nullptr);
        world.pass();
        world.device().dispatch_by({chosen, workers ? workers : chosen->workers, shards});
        world.shard().thaw();
    }

    // Far from its predecessors, so that nothing merges.
    TestRequest& submit(Op op) {
        TestRequest& made = requests[used];
        made.op = op;
        made.range = op == Op::flush ? ByteRange{} : ByteRange{used * 64 * kib, 4096};
        made.buffer = world.buffer(used++);
        world.shard().submit(made);
        return made;
    }
    TestRequest& start(Op op) {
        TestRequest& made = submit(op);
        world.pass();
        return made;
    }
    void start(Op op, u32 count) {
        for (u32 i = 0; i < count; ++i) submit(op);
        world.pass();
    }

    void complete(i32 result, std::size_t index = 0) {
        world.kernel.complete(index, result);
        world.pass();
    }
    const io::Operation& operation(std::size_t index = 0) {
        return world.kernel.pending.at(index)->operation;
    }
    bool tried(std::size_t index = 0) { return (operation(index).rw_flags & RWF_NOWAIT) != 0; }
    std::size_t in_flight() const { return world.kernel.pending.size(); }
    const ShardStats& stats() { return world.shard().stats(); }

    DeviceUnderTest world;
    std::array<TestRequest, DeviceUnderTest::slots_max> requests;
    u32 used = 0;
};

TEST(Hint, SaysAsTheKernelSeriesDidWhatIsWorthATry) {
    // Block device or file, read or write, blocking writes -> tried.
    const std::tuple<bool, bool, u32, bool> table[] = {
        {false, true, 0, true},  {false, true, 1, true},   {false, true, 7, true},
        {false, false, 0, true}, {false, false, 1, false}, {false, false, 7, false},
        {true, true, 0, true},   {true, true, 1, true},    {true, false, 0, true},
        {true, false, 1, true},  {true, false, 7, true},
    };
    for (const auto& [block_device, read, blocking, worth] : table) {
        EXPECT_EQ(worth_a_try(block_device, read, blocking), worth)
            << block_device << read << blocking;
    }
}

// What a transfer goes through on an image file under loop-nowait.
struct Course {
    const char* about;
    Op op;
    bool other_write_blocks;
    i32 answer;  // of the try, when there is one
    bool expect_try;
    bool expect_worker;
};

class CourseTest : public DispatchTest, public ::testing::WithParamInterface<Course> {};

TEST_P(CourseTest, EndsWithSuccessOnTheExpectedPath) {
    const Course& course = GetParam();
    use("loop-nowait");
    u64 expected_blocking = 0;
    if (course.other_write_blocks) {
        start(Op::write);
        complete(-EAGAIN);
        ASSERT_EQ(world.device().blocking_writes(), 1u);
        expected_blocking = 1;
    }
    TestRequest& request = start(course.op);
    const std::size_t index = in_flight() - 1;
    EXPECT_EQ(tried(index), course.expect_try);
    if (course.expect_try) complete(course.answer, index);
    if (course.expect_worker) {
        const std::size_t again = in_flight() - 1;
        EXPECT_TRUE(operation(again).force_async);
        EXPECT_FALSE(tried(again));
        const bool counted = course.op == Op::write;
        EXPECT_EQ(world.device().blocking_writes(), expected_blocking + (counted ? 1 : 0));
        complete(4096, again);
    }
    EXPECT_EQ(request.answers, 1u);
    EXPECT_EQ(request.result, Errno::ok);
    EXPECT_EQ(world.device().blocking_writes(), expected_blocking);
}

// EAGAIN from the submission and from the completion of a block device look alike here.
INSTANTIATE_TEST_SUITE_P(
    LoopNowait, CourseTest,
    ::testing::Values(
        Course{"a read that does not block", Op::read, false, 4096, true, false},
        Course{"a read that would", Op::read, false, -EAGAIN, true, true},
        Course{"a read of a file without NOWAIT", Op::read, false, -EOPNOTSUPP, true, true},
        Course{"a write that does not block", Op::write, false, 4096, true, false},
        Course{"a write that would", Op::write, false, -EAGAIN, true, true},
        Course{"a write of a file without NOWAIT", Op::write, false, -EOPNOTSUPP, true, true},
        Course{"a read beside a blocking write", Op::read, true, 4096, true, false},
        Course{"a read that would block beside one", Op::read, true, -EAGAIN, true, true},
        Course{"a write beside a blocking write", Op::write, true, 0, false, true}));

TEST_F(DispatchTest, TriesAFileWithoutNowaitOnlyOnce) {
    use("loop-nowait");
    start(Op::read);
    complete(-EOPNOTSUPP);
    complete(4096);
    for (u32 i = 0; i < 10; ++i) {
        start(Op::read);
        EXPECT_FALSE(tried());
        complete(4096);
    }
    EXPECT_EQ(stats().nowait_attempts.get(), 1u);
    EXPECT_EQ(stats().nowait_unsupported.get(), 1u);
    EXPECT_EQ(stats().nowait_eagain.get(), 0u);
    // Writes are another matter: ext4 takes the one and not the other.
    start(Op::write);
    EXPECT_TRUE(tried());
}

TEST_F(DispatchTest, CountsTriesMissesAndSkips) {
    use("loop-nowait");
    start(Op::write);
    complete(-EAGAIN);
    start(Op::write, 3);
    EXPECT_EQ(stats().nowait_attempts.get(), 1u);
    EXPECT_EQ(stats().nowait_eagain.get(), 1u);
    EXPECT_EQ(stats().hint_skips.get(), 3u);
    EXPECT_EQ(stats().lane_requests.get(), 4u);
    while (in_flight() > 0) complete(4096);
    start(Op::write);
    EXPECT_TRUE(tried()) << "the kernel's hint has no memory";
}

TEST_F(DispatchTest, AutoLetsMoreWritesGoByAfterEachMissInARow) {
    u32 skipped = 0;
    for (const u32 expected : {2U, 4U, 8U}) {
        start(Op::write);
        ASSERT_TRUE(tried());
        complete(-EAGAIN);
        complete(4096);
        for (u32 i = 0; i < expected; ++i) {
            start(Op::write);
            EXPECT_FALSE(tried());
            complete(4096);
        }
        skipped += expected;
    }
    EXPECT_EQ(stats().hint_skips.get(), skipped);
    start(Op::write);
    EXPECT_TRUE(tried());
}

TEST_F(DispatchTest, TriesEveryWriteWithoutTheHint) {
    use("nowait-no-hint");
    start(Op::write);
    complete(-EAGAIN);
    start(Op::write);
    EXPECT_TRUE(tried(in_flight() - 1));
}

TEST_F(DispatchTest, SubmitsDirectTransfersByOneWorkerAndAllAtOnce) {
    use("linux-4.4");
    EXPECT_EQ(world.kernel.workers_limit, 1u);
    start(Op::write, 20);
    EXPECT_EQ(in_flight(), 20u);
    EXPECT_TRUE(operation(19).force_async);
    EXPECT_EQ(stats().workers_now.get(), 1u);
}

TEST_F(DispatchTest, TakesEverythingInTurnAsLinux319Did) {
    use("linux-3.19");
    start(Op::write, 2);
    start(Op::read, 2);
    for (const Code expected : {Code::write, Code::write, Code::read, Code::read}) {
        ASSERT_EQ(in_flight(), 1u);
        EXPECT_EQ(operation().code, expected);
        complete(4096);
    }
}

TEST_F(DispatchTest, ReadsBesideTheSerialListAsLinux40Did) {
    use("linux-4.0");
    start(Op::write, 3);
    start(Op::read, 40);
    EXPECT_EQ(in_flight(), 41u) << "one write, every read";
    EXPECT_EQ(stats().serial_overflow.get(), 0u);
    EXPECT_EQ(stats().workers_now.get(), 41u);
}

// On a disk that takes one unit of time for each operation, however many it has: how many units
// until `count` requests are answered. No clock is involved.
class SlowDiskTest : public DispatchTest {
protected:
    u32 units(const char* policy, Op op, u32 count) {
        use(policy);
        start(op, count);
        u32 passed = 0;
        while (in_flight() > 0) {
            ++passed;
            for (std::size_t i = in_flight(); i > 0; --i) world.kernel.complete(i - 1, 4096);
            world.pass();
        }
        return passed;
    }
};

TEST_F(SlowDiskTest, ReadsOverlapWhereEachHasAWorker) {
    EXPECT_EQ(units("linux-3.19", Op::read, 16), 16u);
    EXPECT_EQ(units("linux-4.0", Op::read, 16), 1u);
    EXPECT_EQ(units("linux-4.0-capped", Op::read, 20), 4u) << "16 at once; 4 by the serial list";
    EXPECT_EQ(units("auto", Op::read, 16), 1u);
}

TEST_F(SlowDiskTest, WritesTakeTheirTurnUnlessTheyAreAsynchronous) {
    EXPECT_EQ(units("linux-3.19", Op::write, 16), 16u);
    EXPECT_EQ(units("linux-4.0", Op::write, 16), 16u);
    EXPECT_EQ(units("linux-4.4", Op::write, 16), 1u);
    EXPECT_EQ(units("auto", Op::write, 16), 1u);
}

TEST_F(DispatchTest, LetsReadsBeyondTheBoundJoinTheSerialList) {
    use("linux-4.0-capped");
    EXPECT_EQ(world.kernel.workers_limit, 16u);
    start(Op::read, 20);
    EXPECT_EQ(in_flight(), 17u) << "sixteen, and the first of the list";
    EXPECT_EQ(stats().serial_overflow.get(), 4u);
    complete(4096, 0);
    EXPECT_EQ(in_flight(), 16u) << "the list is taken by its own worker only";
    complete(4096, 15);
    EXPECT_EQ(in_flight(), 16u);
    EXPECT_EQ(stats().workers_max_seen.get(), 16u);
}

TEST_F(DispatchTest, SharesTheWorkersOfADeviceAmongItsShards) {
    use("linux-4.0-capped", 16, 4);
    EXPECT_EQ(world.kernel.workers_limit, 4u);
    use("linux-4.0-capped", 2, 4);
    EXPECT_EQ(world.kernel.workers_limit, 1u);
    use("auto", 16, 2);
    EXPECT_EQ(world.kernel.workers_limit, 1u);
}

TEST_F(DispatchTest, HasOneSubmitterUntilSomethingElseNeedsAWorker) {
    use("auto");
    EXPECT_EQ(world.kernel.workers_limit, 1u);
    start(Op::write);
    complete(-EAGAIN);
    EXPECT_EQ(world.kernel.workers_limit, 1u);
    start(Op::flush);
    EXPECT_EQ(in_flight(), 2u);
    EXPECT_EQ(world.kernel.workers_limit, 3u);
    EXPECT_EQ(stats().workers_now.get(), 2u);
}

TEST_F(DispatchTest, SharesOneSyncAmongFlushesThatCameWhileAnotherRan) {
    TestRequest& first = start(Op::flush);
    TestRequest& second = start(Op::flush);
    TestRequest& third = start(Op::flush);
    ASSERT_EQ(in_flight(), 1u);
    complete(0);
    EXPECT_EQ(first.answers, 1u);
    EXPECT_EQ(second.answers + third.answers, 0u) << "that sync may have begun before them";
    ASSERT_EQ(in_flight(), 1u);
    EXPECT_EQ(operation().code, Code::fdatasync);
    complete(0);
    EXPECT_EQ(second.answers + third.answers, 2u);
    EXPECT_EQ(in_flight(), 0u);
}

TEST_F(DispatchTest, FailsEveryFlushThatAFailedSyncCovers) {
    start(Op::flush);
    TestRequest& second = start(Op::flush);
    TestRequest& third = start(Op::flush);
    complete(0);
    complete(-EIO);
    EXPECT_EQ(second.result, Errno::io);
    EXPECT_EQ(third.result, Errno::io);
    EXPECT_TRUE(world.device().poisoned());
}

class BufferedDispatchTest : public DispatchTest {
protected:
    BufferedDispatchTest() : DispatchTest(backing::DirectIo::off) {}
};

TEST_F(BufferedDispatchTest, NeverTriesWhereTheKernelsDriverDidNot) {
    use("loop-nowait");
    start(Op::read);
    EXPECT_TRUE(operation().force_async);
    EXPECT_FALSE(operation().on_thread);
    EXPECT_EQ(stats().nowait_attempts.get(), 0u);
    start(Op::write);
    EXPECT_EQ(in_flight(), 1u) << "one worker";
    complete(4096);
}

TEST_F(BufferedDispatchTest, GivesReadsToTheLaneWhereTheFileTakesNoNowait) {
    start(Op::read);
    complete(-EOPNOTSUPP);  // squashfs
    EXPECT_TRUE(operation().force_async);
    complete(4096);
    start(Op::read, 20);
    EXPECT_EQ(in_flight(), 16u);
    EXPECT_EQ(stats().workers_max_seen.get(), 16u);
    EXPECT_EQ(stats().nowait_attempts.get(), 1u);
}

TEST_F(BufferedDispatchTest, GivesAutoAllOfItsWorkers) {
    use("auto", 16, 1);
    EXPECT_EQ(world.kernel.workers_limit, 16u);
    start(Op::write);
    complete(-EOPNOTSUPP);  // ext4
    complete(4096);
    start(Op::write);
    world.kernel.pending.front()->call_ns = 50'000'000;  // it blocked: to the workers for a while
    complete(4096);
    start(Op::write, 20);
    EXPECT_EQ(in_flight(), 16u);
    EXPECT_EQ(stats().serial_overflow.get(), 4u);
    complete(4096);
    EXPECT_EQ(in_flight(), 16u) << "whoever waited longest has the worker that became free";
}

// A kernel that answers anything, in any order, while the policy changes.
class Storm {
public:
    Storm(backing::DirectIo direct, u32 seed) : world_({.direct_io = direct}), random_(seed) {}

    void run(u64 operations) {
        while (world_.kernel.submitted_count < operations) {
            if (chance(200)) change_policy();
            const u32 arriving = pick(6);
            for (u32 i = 0; i < arriving; ++i) submit_one();
            world_.pass();
            check();
            for (u32 i = pick(8); i > 0 && !world_.kernel.pending.empty(); --i) answer_one();
            world_.pass();
            check();
        }
        while (!world_.kernel.pending.empty()) {
            answer_one();
            world_.pass();
        }
        EXPECT_EQ(world_.device().blocking_writes(), 0u);
        EXPECT_EQ(world_.shard().stats().workers_now.get(), 0u);
        EXPECT_EQ(submitted_, answered());
    }

private:
    u32 pick(u32 below) { return static_cast<u32>(random_() % below); }
    bool chance(u32 one_in) { return pick(one_in) == 0; }

    void submit_one() {
        TestRequest& request = requests_[pick(static_cast<u32>(requests_.size()))];
        if (request.active) return;
        constexpr Op ops[] = {Op::read,  Op::read,  Op::read,         Op::write,   Op::write,
                              Op::write, Op::flush, Op::write_zeroes, Op::discard, Op::prefetch};
        request.op = ops[pick(std::size(ops))];
        request.fua = (request.op == Op::write || request.op == Op::write_zeroes) && chance(8);
        request.range = {};
        if (request.op != Op::flush) request.range = {pick(2048) * 4096, (1 + pick(4)) * 4096};
        request.buffer = world_.buffer(static_cast<u32>(&request - requests_.data()));
        ++submitted_;
        world_.shard().submit(request);
    }

    u64 answered() const {
        u64 answers = 0;
        for (const TestRequest& request : requests_) answers += request.answers;
        return answers;
    }

    void answer_one() {
        const std::size_t index = pick(static_cast<u32>(world_.kernel.pending.size()));
        const io::Completion& completion = *world_.kernel.pending[index];
        world_.kernel.complete(index, answer_to(completion.operation));
    }

    i32 answer_to(const io::Operation& operation) {
        const bool tried = (operation.rw_flags & RWF_NOWAIT) != 0;
        if (tried && chance(2)) return chance(50) ? -EOPNOTSUPP : -EAGAIN;
        if (chance(30)) return chance(2) ? -EAGAIN : -EINTR;
        const bool moves = operation.code == Code::read || operation.code == Code::readv ||
                           operation.code == Code::write || operation.code == Code::writev;
        if (!moves) return 0;  // a sync that failed would end all flushes
        if (chance(100)) return -ENOSPC;
        const auto blocks = static_cast<u32>(operation.length / 4096);
        return static_cast<i32>(chance(10) ? (1 + pick(blocks)) * 4096 : blocks * 4096);
    }

    void change_policy() {
        const Policy& chosen = policies()[pick(static_cast<u32>(policies().size()))];
        bool frozen = false;
        world_.shard().freeze([](void* flag) { *static_cast<bool*>(flag) = true; }, &frozen);
        while (!frozen) {
            if (!world_.kernel.pending.empty()) answer_one();
            world_.pass();
        }
        EXPECT_EQ(world_.device().blocking_writes(), 0u) << "none is in flight";
        world_.device().dispatch_by({&chosen, 1 + pick(chosen.workers), 1});
        world_.shard().thaw();
    }

    // The bound, as far as it can be seen from outside: what blocks, beside direct submissions.
    void check() {
        const Dispatching& dispatching = world_.device().dispatching();
        u32 blocking = 0;
        u32 direct_writes = 0;
        for (const io::Completion* completion : world_.kernel.pending) {
            const io::Operation& operation = completion->operation;
            const bool data = operation.code != Code::fdatasync &&
                              operation.code != Code::fallocate && operation.code != Code::prefetch;
            const bool submission = data && direct() && dispatching.policy->direct_async;
            if (!submission && (operation.force_async || !data)) ++blocking;
            const bool write = operation.code == Code::write || operation.code == Code::writev;
            if (direct() && write && operation.force_async) ++direct_writes;
        }
        const u32 serial = dispatching.policy->serial() ? 1 : 0;
        ASSERT_LE(blocking,
                  (dispatching.policy->reads_concurrent ? dispatching.workers : 0) + serial)
            << dispatching.policy->name;
        ASSERT_GE(world_.device().blocking_writes(), direct_writes);
        ASSERT_LE(world_.shard().stats().workers_now.get(), world_.kernel.workers_limit);
        for (const TestRequest& request : requests_) ASSERT_NE(request.result, Errno::again);
    }
    bool direct() const { return world_.device().backing().direct_now(); }

    mutable DeviceUnderTest world_;
    std::mt19937 random_;
    std::array<TestRequest, 100> requests_;
    u64 submitted_ = 0;
};

constexpr u64 storm_operations = 500'000;

TEST(DispatchStorm, KeepsBoundAndCountersOverHalfAMillionOperationsDirect) {
    Storm(backing::DirectIo::on, 1).run(storm_operations);
}

TEST(DispatchStorm, KeepsBoundAndCountersOverHalfAMillionOperationsBuffered) {
    Storm(backing::DirectIo::off, 2).run(storm_operations);
}

}  // namespace
}  // namespace ringloop::engine
