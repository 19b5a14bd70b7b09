// Lanes that come late, not at all, and go at any moment, over a real engine.
#include "sim/tenants.h"

#include <gtest/gtest.h>

#include "sim/in_process.h"
#include "sim/test_server.h"

namespace ringloop::sim {
namespace {

struct Weather {
    const char* name;
    bool faults;
    u32 refused;
    u32 killed;
    SimTenants::Options options;
};

constexpr u64 own = 1;
constexpr u64 tenant = 100;

class SimTenantsTest : public ::testing::TestWithParam<Weather> {
protected:
    SimTenantsTest() {
        server.machine().faults.lanes_refused = GetParam().refused;
        server.machine().faults.lanes_killed = GetParam().killed;
        server.turned = [this](u32 seat) { return tenants->turned(seat); };
    }
    void boot() {
        server.boot();
        tenants =
            std::make_unique<SimTenants>(server.machine(), server.server(), GetParam().options);
        client.start(server.server());
        server.begin();
    }
    void wind_up() {
        ASSERT_TRUE(server.run_until([&] { return client.ended() && tenants->ended(); }))
            << "a request or a lane is left";
        server.shut_down([&] {
            client.clear();
            opened += tenants->opened();
            refused += tenants->refused();
            killed_lanes += tenants->killed_lanes();
            released += tenants->released();
            tenants.reset();
        });
    }
    void stop() {
        client.stop();
        tenants->quiesce();
        wind_up();
    }
    void kill() {
        server.sending = false;
        server.kill();
        client.killed(false);
        tenants->killed();
        wind_up();
        server.sending = true;
    }
    u64 in_lanes() {
        u64 finished = 0;
        u64 root = 0;
        for (const Seat& seat : server.server().seats) {
            finished += seat.shard->stats().finished.get();
            root += seat.shard->stats().root_lane.finished.get();
        }
        return finished - root;
    }

    TestServer server{{.seed = 5,
                       .faults = GetParam().faults,
                       .job_bytes_max = 32 * kib,
                       .cgroups = {0, own, tenant, tenant + 1, tenant + 2, tenant + 3}}};
    InProcess client{server.machine(), server, 24, 32 * kib};
    std::unique_ptr<SimTenants> tenants;
    u64 opened = 0;
    u64 refused = 0;
    u64 killed_lanes = 0;
    u64 released = 0;
};

TEST_P(SimTenantsTest, AnswersEveryJobOnceWhereverItWas) {
    boot();
    server.send(client, 3'000);
    ASSERT_TRUE(server.run_until([&] { return server.idle(); }));
    EXPECT_EQ(server.answers, 3'000u);
    EXPECT_GT(in_lanes(), 300u) << "hardly a request was in a lane";
    if (!GetParam().faults) {
        EXPECT_EQ(server.errors, 0u);
    }
    stop();
    EXPECT_GT(opened, 0u);
    const bool crowded = GetParam().options.lanes < 4;
    EXPECT_EQ(refused > 0, crowded || GetParam().refused > 0);
    EXPECT_EQ(killed_lanes > 0, GetParam().killed > 0);
    EXPECT_EQ(released > 0, GetParam().options.release > 0);
    server.oracle().check_all("at the end");
    EXPECT_EQ(server.oracle().violation(), "");
}

TEST_P(SimTenantsTest, DiesWithItsServerAtAnyMoment) {
    for (u32 life = 0; life < 10; ++life) {
        boot();
        const u64 before = server.answers;
        server.send(client, 200);
        ASSERT_TRUE(server.run_until([&] { return server.answers >= before + 20 * life; }));
        kill();
        EXPECT_EQ(server.outstanding(), 0u) << "in process, nothing outlives the server";
    }
    boot();
    server.send(client, 0);
    ASSERT_TRUE(server.run_until([&] { return server.idle(); }));
    stop();
    EXPECT_EQ(server.answers + server.losses, 2'000u);
    server.oracle().check_all("at the end");
    EXPECT_EQ(server.oracle().violation(), "");
}

INSTANTIATE_TEST_SUITE_P(
    Weathers, SimTenantsTest,
    ::testing::Values(
        Weather{"calm", false, 0, 0, {.own = own}}, Weather{"faults", true, 0, 0, {.own = own}},
        Weather{"release",
                false,
                0,
                0,
                {.lanes = 2, .release = 500'000, .look_ns_max = 200'000, .own = own}},
        Weather{"storm", true, 200'000, 300'000, {.lanes = 3, .release = 300'000, .own = own}}),
    [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace ringloop::sim
