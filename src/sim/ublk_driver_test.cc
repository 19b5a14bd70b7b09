// The simulated ublk driver over real queues and a real engine.
#include "sim/ublk_driver.h"

#include <gtest/gtest.h>

#include "sim/test_server.h"

namespace ringloop::sim {
namespace {

constexpr UblkDriver::Options driver_options = {
    .queues = 2, .depth = 8, .io_bytes_max = 128 * kib, .delay_ns_max = 20'000};

class UblkDriverTest : public ::testing::TestWithParam<bool> {
protected:
    void boot() {
        server.boot();
        driver.start(server.server());
        server.begin();
    }
    void stop() {
        driver.stop();
        ASSERT_TRUE(server.run_until([&] { return driver.ended(); })) << "a queue is still open";
        server.shut_down([&] { driver.clear(); });
    }
    // The process ends as it stands, and with it the machine or not.
    void kill(bool power_cut) {
        server.sending = false;
        server.kill();
        driver.killed(power_cut);
        ASSERT_TRUE(server.run_until([&] { return driver.ended(); })) << "a queue is still open";
        server.shut_down([&] { driver.clear(); });
        server.sending = true;
    }
    void expect_clean() {
        EXPECT_EQ(driver.violation(), "");
        EXPECT_EQ(server.oracle().violation(), "");
    }

    TestServer server{{.seed = 7, .faults = GetParam()}};
    UblkDriver driver{server.machine(), server, driver_options};
};

TEST_P(UblkDriverTest, AnswersEveryJobOnceWithWhatIsOnTheDisk) {
    boot();
    server.send(driver, 3'000);
    ASSERT_TRUE(server.run_until([&] { return server.idle(); }));
    EXPECT_EQ(server.answers, 3'000u);
    EXPECT_EQ(server.losses, 0u);
    if (!GetParam()) {
        EXPECT_EQ(server.errors, 0u);
    }
    EXPECT_EQ(driver.handed_over(), 3'000u + driver.resent());
    stop();
    server.oracle().check_all("at the end");
    expect_clean();
}

TEST_P(UblkDriverTest, GivesWhatADeadServerHadToTheNextOne) {
    for (u32 life = 0; life < 8; ++life) {
        boot();
        server.send(driver, 200);
        ASSERT_TRUE(server.run_until([&] { return server.answers > 150 * (life + 1); }));
        kill(false);
    }
    boot();
    server.send(driver, 100);
    ASSERT_TRUE(server.run_until([&] { return server.idle(); }));
    EXPECT_EQ(server.answers, 1'700u) << "each job, whoever had it first";
    EXPECT_EQ(server.losses, 0u);
    EXPECT_GT(driver.reissued(), 0u);
    stop();
    server.oracle().check_all("at the end");
    expect_clean();
}

TEST_P(UblkDriverTest, LosesWhatItHadWithThePower) {
    boot();
    server.send(driver, 300);
    ASSERT_TRUE(server.run_until([&] { return server.answers > 100; }));
    const u64 had = server.outstanding();
    kill(true);
    EXPECT_GT(had, 0u);
    EXPECT_EQ(server.losses, had);
    EXPECT_EQ(server.outstanding(), 0u);
    server.oracle().power_cut();
    boot();
    server.send(driver, 0);
    ASSERT_TRUE(server.run_until([&] { return server.idle(); }));
    EXPECT_EQ(server.answers + server.losses, 300u);
    stop();
    server.oracle().check_all("at the end");
    expect_clean();
}

TEST_P(UblkDriverTest, AStopDuringRequestsLetsThemBeCommitted) {
    boot();
    server.send(driver, 500);
    ASSERT_TRUE(server.run_until([&] { return server.answers > 400; }));
    server.sending = false;
    const u64 answered = server.answers;
    const u64 left = server.outstanding();
    ASSERT_GT(left, 0u);
    stop();
    EXPECT_EQ(server.answers, answered + left) << "those that it had, and no others";
    expect_clean();
}

INSTANTIATE_TEST_SUITE_P(Faults, UblkDriverTest, ::testing::Bool(),
                         [](const auto& test) { return test.param ? "on" : "off"; });

// What a server may not do. The commands are made up by the test, on the kernel that the driver
// listens to.
class UblkDriverViolation : public ::testing::Test {
protected:
    struct Command : io::Completion {
        std::vector<i32> results;
        explicit Command(const abi::ublk::IoCommand& command, abi::ublk::Opcode opcode) {
            operation = {.code = io::Operation::Code::command,
                         .command = opcode.encoded,
                         .payload = std::bit_cast<std::array<u64, 2>>(command)};
            done = [](io::Completion& it) {
                static_cast<Command&>(it).results.push_back(it.result);
            };
        }
    };

    UblkDriverViolation() {
        server.boot();
        driver.start(server.server());
        server.begin();
        EXPECT_TRUE(server.run_until([&] { return server.machine().timeline.empty(); }));
    }
    ~UblkDriverViolation() override {
        driver.stop();
        EXPECT_TRUE(server.run_until([&] { return driver.ended(); }));
        server.shut_down([&] { driver.clear(); });
    }
    void give(Command& command) { driver.start(server.kernel(0), command); }

    TestServer server{{.seed = 3, .shards = 1}};
    UblkDriver driver{server.machine(), server, {.queues = 1, .depth = 4}};
};

TEST_F(UblkDriverViolation, ACommandOfAnArmedTagIsRefused) {
    Command command({.queue_id = 0, .tag = 1, .address = page_bytes}, abi::ublk::fetch);
    give(command);
    EXPECT_EQ(driver.violation(), "ublk: a command of an armed tag, tag 1 of queue 0");
    EXPECT_TRUE(server.run_until([&] { return !command.results.empty(); }));
    EXPECT_EQ(command.results, std::vector<i32>{-EBUSY});
}

TEST_F(UblkDriverViolation, ACommandOfNoTagIsRefused) {
    Command command({.queue_id = 0, .tag = 4, .address = page_bytes}, abi::ublk::fetch);
    give(command);
    EXPECT_EQ(driver.violation(), "ublk: a command of a tag that does not exist");
    EXPECT_TRUE(server.run_until([&] { return !command.results.empty(); }));
    EXPECT_EQ(command.results, std::vector<i32>{-EINVAL});
}

TEST_F(UblkDriverViolation, ACommandWithoutABufferIsRefused) {
    Command command({.queue_id = 0, .tag = 0, .address = 0}, abi::ublk::fetch);
    give(command);
    EXPECT_EQ(driver.violation(), "ublk: a command without a buffer, tag 0 of queue 0");
    EXPECT_TRUE(server.run_until([&] { return !command.results.empty(); }));
}

}  // namespace
}  // namespace ringloop::sim
