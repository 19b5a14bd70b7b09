// NBD clients of every manner over a real service and a real engine.
#include "sim/nbd_client.h"

#include <gtest/gtest.h>

#include "sim/test_server.h"

namespace ringloop::sim {
namespace {

struct Weather {
    const char* name;
    bool faults;
    u32 leave;
};

class NbdClientsTest : public ::testing::TestWithParam<Weather> {
protected:
    NbdClientsTest() {
        server.machine().faults.connection_leaves = GetParam().leave;
        server.turned = [this](u32) {
            clients.turned();
            return false;
        };
    }
    void boot() {
        server.boot();
        server.begin();
        clients.start(server.server());
    }
    void wind_up() {
        ASSERT_TRUE(server.run_until([&] { return clients.ended(); })) << "a connection is left";
        server.shut_down([&] { clients.clear(); });
    }
    void stop() {
        clients.stop();
        wind_up();
    }
    void kill() {
        server.sending = false;
        server.kill();
        clients.killed(false);
        wind_up();
        server.sending = true;
    }
    void expect_clean() {
        EXPECT_EQ(clients.violation(), "");
        EXPECT_EQ(server.oracle().violation(), "");
    }

    TestServer server{{.seed = 11,
                       .faults = GetParam().faults,
                       .job_bytes_max = 600 * kib,
                       .prefetch = true,
                       .fast_zero = true}};
    NbdClients clients{server.machine(),
                       server,
                       {.connections = 3, .depth = 12, .server_depth = 8, .window_bytes = 100'000}};
};

TEST_P(NbdClientsTest, EveryJobIsAnsweredOnceOrLostWithItsConnection) {
    boot();
    server.send(clients, 2'000);
    ASSERT_TRUE(server.run_until([&] { return server.idle(); }));
    EXPECT_EQ(server.answers + server.losses, 2'000u);
    if (GetParam().leave == 0) {
        EXPECT_EQ(server.losses, 0u);
        EXPECT_EQ(clients.connected(), 3u);
    } else {
        EXPECT_GT(server.losses, 0u);
        EXPECT_GT(clients.left(), 20u);
        EXPECT_GT(clients.connected(), clients.left());
    }
    if (!GetParam().faults) {
        EXPECT_EQ(server.errors, 0u);
    }
    stop();
    server.oracle().check_all("at the end");
    expect_clean();
}

TEST_P(NbdClientsTest, ComesBackToTheNextServer) {
    for (u32 life = 0; life < 6; ++life) {
        boot();
        const u64 before = server.answers;
        server.send(clients, 100);
        ASSERT_TRUE(server.run_until([&] { return server.answers > before + 40; }));
        const u64 losses = server.losses;
        const u64 left = server.outstanding();
        kill();
        EXPECT_EQ(server.losses, losses + left) << "what the dead server had";
    }
    for (u32 life = 0; life < 6; ++life) {
        boot();
        server.send(clients, 20);
        ASSERT_TRUE(server.run_until([&] { return server.idle(); }));
        stop();
    }
    server.oracle().check_all("at the end");
    expect_clean();
}

INSTANTIATE_TEST_SUITE_P(Weathers, NbdClientsTest,
                         ::testing::Values(Weather{"calm", false, 0}, Weather{"faults", true, 0},
                                           Weather{"leaving", false, 100'000},
                                           Weather{"storm", true, 100'000}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace ringloop::sim
