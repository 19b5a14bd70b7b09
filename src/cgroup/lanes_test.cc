// The engine, a lane and the memory between them, in every order that a seed makes up.
#include <gtest/gtest.h>

#include <algorithm>
#include <limits>
#include <random>

#include "sim/lane_world.h"

namespace ringloop::cgroup {
namespace {

using engine::Op;
using sim::DeviceUnderTest;
using sim::LaneWorld;
using sim::TestRequest;
using Kind = Letter::Kind;

class LanesTest : public ::testing::Test {
protected:
    TestRequest& submit(u64 cgroup, Op op = Op::read) {
        TestRequest& request = requests[used];
        request.op = op;
        request.cgroup = cgroup;
        request.range = op == Op::flush ? ByteRange{} : ByteRange{used * 64 * kib, 4096};
        request.buffer = sim.world.buffer(used++);
        sim.world.shard().submit(request);
        return request;
    }
    TestRequest& start(u64 cgroup, Op op = Op::read) {
        TestRequest& request = submit(cgroup, op);
        sim.world.pass();
        return request;
    }
    // The lane's jobs, without the read of its eventfd.
    std::size_t lane_jobs() const {
        return static_cast<std::size_t>(
            std::ranges::count_if(sim.lane_kernel.pending, [](const auto* completion) {
                return completion->operation.file.number > 100 &&
                       completion->operation.file.number < 200;
            }));
    }
    void lane_pass() { sim.process->pass(0); }
    void lane_completes(i32 result) {
        const auto& pending = sim.lane_kernel.pending;
        const auto job = std::ranges::find_if(pending, [](const auto* completion) {
            return completion->operation.file.number < 200;
        });
        ASSERT_NE(job, pending.end());
        sim.lane_kernel.complete(static_cast<std::size_t>(job - pending.begin()), result);
        lane_pass();
        lane_pass();
    }
    void open_lane() {
        const auto letters = sim.letters();
        ASSERT_EQ(letters.size(), 1u);
        ASSERT_EQ(letters[0]->kind, Kind::want);
        EXPECT_EQ(letters[0]->seat->cgroup, LaneWorld::tenant);
        sim.open(*letters[0]);
        sim.world.pass();
    }

    LaneWorld sim;
    std::array<TestRequest, DeviceUnderTest::slots_max> requests;
    u32 used = 0;
};

TEST_F(LanesTest, TheServersOwnRequestsAndThoseOfNobodyStayOnItsRing) {
    start(0);
    start(LaneWorld::own);
    start(1);
    EXPECT_EQ(sim.world.kernel.pending.size(), 3u);
    EXPECT_TRUE(sim.letters().empty());
    while (!sim.world.kernel.pending.empty()) sim.world.kernel.complete_first(4096);
    sim.world.pass();
    EXPECT_EQ(sim.world.shard().stats().root_lane.finished.get(), 3u);
}

TEST_F(LanesTest, ARequestOfAnotherCgroupWaitsForItsLaneAndRunsThere) {
    TestRequest& request = start(LaneWorld::tenant);
    EXPECT_TRUE(sim.world.kernel.pending.empty());
    open_lane();
    EXPECT_EQ(sim.world.kernel.signals.size(), 0u) << "the lane has not slept yet";
    lane_pass();
    ASSERT_EQ(lane_jobs(), 1u);
    const io::Operation& operation = sim.lane_kernel.pending.back()->operation;
    EXPECT_EQ(operation.data, request.buffer);
    EXPECT_EQ(operation.offset, request.range.offset);
    lane_completes(4096);
    sim.world.pass();
    EXPECT_EQ(request.answers, 1u);
    EXPECT_EQ(request.result, Errno::ok);
}

TEST_F(LanesTest, WhoSleepsIsWokenAndWhoDoesNotIsNot) {
    start(LaneWorld::tenant);
    open_lane();
    lane_pass();
    ASSERT_TRUE(sim.board->lane(0).doze());
    start(LaneWorld::tenant);
    sim.world.pass();
    EXPECT_EQ(sim.world.kernel.signals, std::vector<int>{LaneWorld::lane_event});
    start(LaneWorld::tenant);
    sim.world.pass();
    EXPECT_EQ(sim.world.kernel.signals.size(), 1u) << "it was woken already";
    sim.lane_kernel.signals.clear();
    lane_pass();
    ASSERT_TRUE(sim.board->shard(0).doze());
    lane_completes(4096);
    EXPECT_EQ(sim.lane_kernel.signals, std::vector<int>{LaneWorld::shard_event});
    while (lane_jobs() > 0) lane_completes(4096);
    sim.world.pass();
    sim.world.pass();
    EXPECT_EQ(sim.world.shard().stats().finished.get(), 3u);
}

TEST_F(LanesTest, AFlushIsTheServers) {
    TestRequest& flush = start(LaneWorld::tenant, Op::flush);
    ASSERT_EQ(sim.world.kernel.pending.size(), 1u);
    sim.world.kernel.complete_first(0);
    sim.world.pass();
    EXPECT_EQ(flush.answers, 1u);
    EXPECT_TRUE(sim.letters().empty());
}

TEST_F(LanesTest, EachHasAShareOfTheWorkersAndNeverNone) {
    engine::Device& device = sim.world.device();
    device.dispatch_by({*engine::find_policy("linux-4.0-capped"), 16, 1});
    ASSERT_TRUE(sim.world.shard().settle());
    EXPECT_EQ(sim.world.kernel.workers_limit, 16u);
    start(LaneWorld::tenant);
    open_lane();
    device.lanes() = 2;  // as the keeper counts them
    sim.world.pass();
    EXPECT_EQ(sim.world.kernel.workers_limit, 8u);
    lane_pass();
    EXPECT_EQ(sim.board->channel(0, 0).workers.load(), 8u);
    start(LaneWorld::tenant);
    lane_pass();
    EXPECT_EQ(sim.lane_kernel.workers_limit, 8u);
    device.lanes() = 40;
    sim.world.pass();
    EXPECT_EQ(sim.world.kernel.workers_limit, 1u);
    while (lane_jobs() > 0) lane_completes(4096);
    sim.world.pass();
    sim.world.pass();
    EXPECT_EQ(sim.world.shard().stats().finished.get(), 2u);
}

TEST_F(LanesTest, RequestsOfARefusedLaneAreServedByTheRootLane) {
    TestRequest& request = start(LaneWorld::tenant);
    const auto letters = sim.letters();
    ASSERT_EQ(letters.size(), 1u);
    sim.refuse(*letters[0], 1'000'000'000);
    sim.world.pass();
    ASSERT_EQ(sim.world.kernel.pending.size(), 1u);
    EXPECT_EQ(sim.world.shard().stats().lane_fallbacks.get(), 1u);
    start(LaneWorld::tenant);
    EXPECT_EQ(sim.world.kernel.pending.size(), 2u) << "no second question for a while";
    EXPECT_TRUE(sim.letters().empty());
    sim.world.kernel.clock_ns += 2'000'000'000;
    start(LaneWorld::tenant);
    const auto again = sim.letters();
    ASSERT_EQ(again.size(), 1u) << "and then another";
    sim.refuse(*again[0], 1'000'000'000);
    sim.world.pass();
    while (!sim.world.kernel.pending.empty()) sim.world.kernel.complete_first(4096);
    sim.world.pass();
    EXPECT_EQ(request.answers, 1u);
}

TEST_F(LanesTest, MoreJobsThanAChannelHoldsWait) {
    LaneLink link(sim.world.shard().handle());
    std::vector<io::Completion> many(3 * jobs_max);
    u32 done = 0;
    static u32* counter = nullptr;
    counter = &done;
    for (io::Completion& one : many) {
        one.operation.file = sim.world.shard().handle().buffered;
        one.done = [](io::Completion&) { ++*counter; };
        link.submit(one);
    }
    Channel& channel = sim.board->channel(3, 0);
    link.open(channel, sim.board->lane(3), 0);
    for (u32 taken = 0; taken < many.size();) {
        link.hand_over();
        ASSERT_LE(channel.submitted.load() - taken, jobs_max);
        // The lane does the newest first.
        for (u32 i = channel.submitted.load(); i-- > taken;) {
            channel.completions[channel.completed.load() % jobs_max] =
                channel.submissions[i % jobs_max];
            channel.completed.fetch_add(1);
        }
        taken = channel.completed.load();
        link.collect();
    }
    EXPECT_EQ(done, many.size());
    EXPECT_TRUE(link.idle());
}

TEST_F(LanesTest, WhatALaneWritesIsNotBelieved) {
    for (const u32 nonsense : {0u, 1u, 2u}) {
        LaneLink link(sim.world.shard().handle());
        io::Completion one;
        one.operation.file = sim.world.shard().handle().buffered;
        one.done = [](io::Completion& completion) { ++completion.result; };
        Channel& channel = sim.board->channel(nonsense, 0);
        link.submit(one);
        link.open(channel, sim.board->lane(nonsense), 0);
        link.hand_over();
        if (nonsense == 0) channel.completed.store(70'000);
        channel.completions[0] = nonsense == 1 ? 9999 : 5;
        if (nonsense > 0) channel.completed.store(1);
        link.collect();
        EXPECT_TRUE(link.broken());
        link.lose();
        EXPECT_TRUE(link.has_lost());
        link.collect();
        EXPECT_EQ(one.result, engine::lane_lost + 1) << "back, once";
    }
}

TEST_F(LanesTest, AnAnswerThatNoKernelGivesIsNotBelieved) {
    constexpr i32 answers[] = {4097, std::numeric_limits<i32>::max(), -4096,
                               std::numeric_limits<i32>::min()};
    for (u32 lane = 0; lane < std::size(answers); ++lane) {
        LaneLink link(sim.world.shard().handle());
        io::Completion one;
        one.operation.file = sim.world.shard().handle().buffered;
        one.operation.length = 4096;
        one.done = [](io::Completion& completion) { ++completion.result; };
        Channel& channel = sim.board->channel(lane, 0);
        link.submit(one);
        link.open(channel, sim.board->lane(lane), 0);
        link.hand_over();
        channel.completions[0] = channel.submissions[0];
        channel.jobs[channel.submissions[0]].result = answers[lane];
        channel.completed.store(1);
        link.collect();
        EXPECT_TRUE(link.broken()) << answers[lane];
        link.lose();
        link.collect();
        EXPECT_EQ(one.result, engine::lane_lost + 1) << "back, once, for the root lane";
    }
}

TEST_F(LanesTest, ALaneIsLetGoOfOnlyWhenNothingIsInIt) {
    start(LaneWorld::tenant);
    open_lane();
    sim.release();
    auto letters = sim.letters();
    ASSERT_EQ(letters.size(), 1u);
    EXPECT_EQ(letters[0]->kind, Kind::kept);
    lane_pass();
    lane_completes(4096);
    sim.world.pass();
    sim.release();
    letters = sim.letters();
    ASSERT_EQ(letters.size(), 1u);
    EXPECT_EQ(letters[0]->kind, Kind::released);
    delete letters[0]->seat;
    // The next request asks again, and the lane that is still there goes on counting where it was.
    TestRequest& next = start(LaneWorld::tenant);
    letters = sim.letters();
    ASSERT_EQ(letters.size(), 1u);
    EXPECT_EQ(letters[0]->kind, Kind::want);
    letters[0]->seat->answer.lane = 0;
    letters[0]->seat->answer.event = LaneWorld::lane_event;
    sim.lanes->opened(letters[0]->seat->answer);
    sim.world.pass();
    lane_pass();
    lane_completes(4096);
    sim.world.pass();
    EXPECT_EQ(next.answers, 1u);
}

TEST_F(LanesTest, ALostLaneGivesItsRequestsToTheRootLaneOnceEach) {
    for (u32 i = 0; i < 4; ++i) submit(LaneWorld::tenant, i % 2 ? Op::read : Op::write);
    sim.world.pass();
    open_lane();
    lane_pass();
    lane_completes(4096);  // this one counts
    sim.kill();
    sim.world.pass();
    EXPECT_EQ(sim.world.kernel.pending.size(), 3u);
    while (!sim.world.kernel.pending.empty()) {
        sim.world.kernel.complete_first(4096);
        sim.world.pass();
    }
    for (u32 i = 0; i < 4; ++i) EXPECT_EQ(requests[i].answers, 1u);
    const auto letters = sim.letters();
    ASSERT_EQ(letters.size(), 1u);
    EXPECT_EQ(letters[0]->kind, Kind::gone);
    ASSERT_NE(letters[0]->seat, nullptr);
    delete letters[0]->seat;
}

// Everything at random: requests of three kinds of issuers, both loops, both disks with short
// transfers, EAGAIN and errors, lanes that are opened, refused, released, and killed at any moment.
// Each request must be answered exactly once, and nothing may be left.
class LaneStorm : public LanesTest, public ::testing::WithParamInterface<u32> {
protected:
    i32 result_of(const io::Operation& operation) {
        const auto dice = random() % 10;
        if (dice == 0 && (operation.rw_flags & RWF_NOWAIT) != 0) return -EAGAIN;
        if (dice == 1 && operation.length > 512) return 512;
        if (dice == 2) return -EINTR;
        if (dice == 3 && random() % 4 == 0) return -EIO;
        return operation.code == io::Operation::Code::fdatasync
                   ? 0
                   : static_cast<i32>(operation.length);
    }
    void request_step() {
        const auto free = std::ranges::find_if(requests, [](auto& r) { return !r.active; });
        if (free == requests.end()) return;
        const auto slot = static_cast<u32>(free - requests.begin());
        TestRequest& request = *free;
        if (request.answers != submitted[slot]) FAIL() << "answered twice";
        constexpr Op ops[] = {Op::read, Op::write, Op::write, Op::flush};
        constexpr u64 cgroups[] = {0, LaneWorld::own, LaneWorld::tenant, LaneWorld::tenant};
        request.op = ops[random() % 4];
        request.cgroup = cgroups[random() % 4];
        request.fua = request.op == Op::write && random() % 8 == 0;
        request.range =
            request.op == Op::flush ? ByteRange{} : ByteRange{random() % 64 * 64 * kib, 4096};
        request.buffer = sim.world.buffer(slot);
        ++submitted[slot];
        sim.world.shard().submit(request);
    }
    void disk_step(sim::ScriptedKernel& kernel) {
        if (kernel.pending.empty()) return;
        const std::size_t index = random() % kernel.pending.size();
        const io::Operation& operation = kernel.pending[index]->operation;
        if (operation.file.number == LaneWorld::lane_event) return;
        kernel.complete(index, result_of(operation));
    }
    void keeper_step() {
        for (Letter* letter : sim.letters()) {
            if (letter->kind == Kind::want) {
                ASSERT_EQ(want, nullptr);
                want = letter;
            } else if (letter->seat) {
                delete letter->seat;
                lane_is_open = false;
            } else {
                ASSERT_EQ(letter->kind, Kind::kept);
            }
            if (letter->kind != Kind::want) note_is_out = false;
        }
        if (want && random() % 2 == 0) {
            Letter& asked = *std::exchange(want, nullptr);
            if (random() % 4 == 0) {
                sim.refuse(asked, random() % 100'000);
            } else {
                sim.open(asked, static_cast<u32>(random() % lanes_max));
                lane_is_open = true;
            }
        } else if (lane_is_open && !note_is_out && random() % 4 == 0) {
            note_is_out = true;
            if (random() % 2 == 0) {
                sim.kill();
                lane_is_open = false;
            } else {
                sim.release();
            }
        }
    }
    void step() {
        switch (random() % 8) {
            case 0:
            case 1: request_step(); break;
            case 2: sim.world.pass(); break;
            case 3:
            case 4:
                if (sim.process) lane_pass();
                break;
            case 5: disk_step(sim.world.kernel); break;
            case 6:
                if (sim.process) disk_step(sim.lane_kernel);
                break;
            case 7:
                if (random() % 16 == 0) keeper_step();
                break;
        }
    }
    bool quiet() const {
        return std::ranges::none_of(requests, [](const auto& request) { return request.active; });
    }

    std::mt19937 random{GetParam()};
    std::array<u32, DeviceUnderTest::slots_max> submitted{};
    Letter* want = nullptr;
    bool lane_is_open = false;
    bool note_is_out = false;
};

TEST_P(LaneStorm, AnswersEachRequestExactlyOnce) {
    for (u32 i = 0; i < 100'000; ++i) ASSERT_NO_FATAL_FAILURE(step());
    // The tide goes out: no more requests, everybody does what there is to do.
    for (u32 i = 0; i < 200'000 && !quiet(); ++i) {
        sim.world.pass();
        if (sim.process) lane_pass();
        disk_step(sim.world.kernel);
        if (sim.process) disk_step(sim.lane_kernel);
        keeper_step();
    }
    EXPECT_TRUE(quiet());
    for (u32 slot = 0; slot < requests.size(); ++slot) {
        EXPECT_EQ(requests[slot].answers, submitted[slot]) << slot;
    }
    const engine::ShardStats& stats = sim.world.shard().stats();
    EXPECT_EQ(stats.started.get(), stats.finished.get());
    EXPECT_EQ(stats.root_lane.started.get(), stats.root_lane.finished.get());
    EXPECT_EQ(stats.workers_now.get(), 0u);
    EXPECT_EQ(sim.world.device().blocking_writes(), 0u);
    EXPECT_GT(stats.lane_fallbacks.get(), 0u);
}

INSTANTIATE_TEST_SUITE_P(Seeds, LaneStorm, ::testing::Range(1u, 9u));

}  // namespace
}  // namespace ringloop::cgroup
