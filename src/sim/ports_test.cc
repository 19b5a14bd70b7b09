// Whole runs by each port, and with lanes: nothing is wrong in them, and they can be run again.
#include <gtest/gtest.h>

#include "sim/world.h"

namespace ringloop::sim {
namespace {

struct Way {
    const char* name;
    u64 ports;
    u64 tenants;
};

class PortsTest : public ::testing::TestWithParam<Way> {
protected:
    static Config config_of(u64 seed) {
        Config config = Config::draw(seed);
        config.ports = GetParam().ports;
        config.tenants = GetParam().tenants;
        config.jobs = 600;
        config.lives = 3;
        config.kills = 60;
        config.faults.connection_leaves = 30'000;
        config.faults.lanes_killed = 100'000;
        return config;
    }
};

TEST_P(PortsTest, TheSameSeedGivesTheSameRunInWhichNothingIsWrong) {
    for (u64 seed = 1; seed <= 4; ++seed) {
        SCOPED_TRACE(seed);
        const Config config = config_of(seed);
        World first(config, 16);
        const Verdict one = first.run();
        ASSERT_EQ(one.wrong, "") << config.text();
        World second(config, 16);
        const Verdict other = second.run();
        EXPECT_EQ(one.hash, other.hash) << config.text();
        EXPECT_EQ(one.jobs, other.jobs);
        EXPECT_EQ(one.virtual_ns, other.virtual_ns);
    }
}

INSTANTIATE_TEST_SUITE_P(Ways, PortsTest,
                         ::testing::Values(Way{"ublk", port_ublk, 0}, Way{"nbd", port_nbd, 0},
                                           Way{"lanes", port_in_process, 4},
                                           Way{"all", port_in_process | port_ublk | port_nbd, 4}),
                         [](const auto& test) { return test.param.name; });

}  // namespace
}  // namespace ringloop::sim
