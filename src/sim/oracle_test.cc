// That the oracle can say no: each promise is broken once, by hand, and it has to notice.
#include "sim/oracle.h"

#include <gtest/gtest.h>

#include <cerrno>

#include "sim/runner.h"

namespace ringloop::sim {
namespace {

using engine::Op;

class OracleTest : public ::testing::Test {
protected:
    Job& send(Op op, u64 offset, u64 length, bool fua = false) {
        jobs.push_back(std::make_unique<Job>());
        Job& job = *jobs.back();
        job.number = jobs.size();
        job.op = op;
        job.fua = fua;
        job.range = {offset, length};
        oracle.sent(job);
        return job;
    }
    // Carried out by the disk as it should be, and answered.
    Job& write(u64 offset, u64 length, bool fua = false) {
        Job& job = send(Op::write, offset, length, fua);
        disk.write(offset, job.data.data(), length);
        oracle.answered(job, 0);
        return job;
    }
    void read(u64 offset, u64 length) {
        Job& job = send(Op::read, offset, length);
        disk.read(offset, job.data.data(), length);
        oracle.answered(job, 0);
    }
    void flush(bool honest) {
        Job& job = send(Op::flush, 0, 0);
        if (honest) disk.sync(disk.mark());
        oracle.answered(job, 0);
    }
    // All that is volatile goes.
    void lose_power() {
        disk.lose(disk.mark());
        disk.power_cut();
        oracle.power_cut();
    }
    bool is_content() const { return oracle.violation().empty(); }

    Timeline timeline;
    Prng prng{7};
    Trace trace{0};
    Disk disk{{.image_bytes = 64 * kib, .device = {0, 64 * kib}}, prng, trace, timeline};
    Oracle oracle{disk, {0, 64 * kib}, prng, trace, timeline};
    std::vector<std::unique_ptr<Job>> jobs;
};

TEST_F(OracleTest, HasNothingAgainstAServerThatDoesWhatItSays) {
    for (u64 i = 0; i < 32; ++i) {
        write(i % 8 * 4096, 4096);
        read(0, 64 * kib);
        if (i % 5 == 0) flush(true);
    }
    flush(true);
    lose_power();
    read(0, 64 * kib);
    EXPECT_EQ(oracle.violation(), "");
}

TEST_F(OracleTest, NoticesAWriteThatWasNotDone) {
    Job& job = send(Op::write, 4096, 4096);
    oracle.answered(job, 0);
    read(4096, 512);
    EXPECT_FALSE(is_content());
}

TEST_F(OracleTest, NoticesTheLastByteOfAShortWrite) {
    Job& job = send(Op::write, 4096, 4096);
    disk.write(4096, job.data.data(), 4095);
    oracle.answered(job, 0);
    read(4096, 4096);
    EXPECT_FALSE(is_content());
}

TEST_F(OracleTest, NoticesAWriteThatLandsOnANewerOne) {
    Job& older = write(0, 4096);
    write(0, 4096);
    disk.write(0, older.data.data(), 4096);
    read(0, 4096);
    EXPECT_FALSE(is_content());
}

TEST_F(OracleTest, TakesEitherOfTwoWritesThatWereInFlightTogether) {
    Job& one = send(Op::write, 0, 4096);
    Job& other = send(Op::write, 0, 4096);
    disk.write(0, other.data.data(), 4096);
    oracle.answered(other, 0);
    disk.write(0, one.data.data(), 4096);
    oracle.answered(one, 0);
    read(0, 4096);
    EXPECT_EQ(oracle.violation(), "");
}

TEST_F(OracleTest, NoticesAFlushThatDidNothing) {
    write(0, 4096);
    flush(false);
    lose_power();
    EXPECT_FALSE(is_content());
}

TEST_F(OracleTest, NoticesAFuaWriteThatWasNotDurable) {
    write(0, 4096, true);
    lose_power();
    EXPECT_FALSE(is_content());
}

TEST_F(OracleTest, ExpectsNothingOfWhatWasNeverFlushed) {
    write(0, 4096);
    lose_power();
    read(0, 4096);
    EXPECT_EQ(oracle.violation(), "");
}

TEST_F(OracleTest, NoticesAFlushThatWasSentBeforeAWriteWasAnsweredOnlyForThoseBefore) {
    write(0, 4096);
    Job& early = send(Op::flush, 0, 0);
    disk.sync(disk.mark());
    Job& late = send(Op::write, 4096, 4096);
    disk.write(4096, late.data.data(), 4096);
    oracle.answered(late, 0);
    oracle.answered(early, 0);
    lose_power();
    EXPECT_EQ(oracle.violation(), "");
    flush(true);
    EXPECT_EQ(oracle.violation(), "");
}

TEST_F(OracleTest, NoticesADiscardThatLeavesSomethingElse) {
    write(0, 4096);
    Job& discard = send(Op::discard, 0, 4096);
    const std::byte garbage[512] = {std::byte{1}};
    disk.write(512, garbage, sizeof garbage);
    oracle.answered(discard, 0);
    read(0, 4096);
    EXPECT_FALSE(is_content());
}

TEST_F(OracleTest, NoticesZeroesThatWereNotWritten) {
    write(0, 4096);
    Job& zeroes = send(Op::write_zeroes, 0, 4096);
    oracle.answered(zeroes, 0);
    read(0, 4096);
    EXPECT_FALSE(is_content());
}

TEST_F(OracleTest, NoticesAnErrorThatNoClientKnows) {
    oracle.answered(send(Op::write, 0, 512), EAGAIN);
    EXPECT_FALSE(is_content());
}

TEST(World, NoticesADiskThatWritesToTheWrongPlace) {
    u32 noticed = 0;
    for (u64 seed = 1; seed <= 8; ++seed) {
        Config config{.seed = seed, .device_bytes = 1 * mib, .reads = 80, .misdirect = 200};
        // A world that went wrong cannot be taken apart in order.
        if (run_apart(config).failed) ++noticed;
        config.misdirect = 0;
        EXPECT_EQ(World(config, 0).run().wrong, "") << seed;
    }
    // One that lands on what is soon written again is missed.
    EXPECT_GE(noticed, 6u);
}

TEST(World, GoesAnotherWayFromAnotherSeed) {
    EXPECT_NE(World({.seed = 1}, 0).run().hash, World({.seed = 2}, 0).run().hash);
}

}  // namespace
}  // namespace ringloop::sim
