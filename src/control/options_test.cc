#include "control/options.h"

#include <gtest/gtest.h>

#include <algorithm>

namespace ringloop::control {
namespace {

DeviceOptions valid() { return {.image = "disk.img"}; }

TEST(Name, that_is_a_plain_word_is_accepted) {
    for (const char* name : {"a", "root-fs", "vm_1.disk", "A9", "ublkb", "ublkb0x", "nbdkit"}) {
        EXPECT_TRUE(check_name(name)) << name;
    }
    EXPECT_TRUE(check_name(std::string(64, 'a')));
}

TEST(Name, that_could_be_a_path_an_option_or_a_hidden_file_is_refused) {
    for (const char* name : {"", ".", "..", ".x", "-x", "a/b", "a b", "a\n", "\xc3\xa4"}) {
        EXPECT_FALSE(check_name(name)) << name;
    }
    EXPECT_FALSE(check_name(std::string(65, 'a')));
}

TEST(Name, of_a_device_is_reserved_for_that_device) {
    for (const char* name : {"ublkb0", "ublkb12", "nbd0", "nbd15", "socket0"}) {
        const Status status = check_name(name);
        ASSERT_FALSE(status) << name;
        EXPECT_NE(status.error().message.find("reserved"), std::string::npos);
        EXPECT_TRUE(is_plain_name(name)) << "but may stand in a state file";
    }
}

TEST(Options, at_their_limits_are_accepted) {
    for (const u32 sector : {0U, 512U, 1024U, 2048U, 4096U}) {
        DeviceOptions options = valid();
        options.sector_size_bytes = sector;
        options.queues = queues_max;
        options.depth = depth_max;
        EXPECT_TRUE(check_options(options)) << sector;
        options.queues = options.workers = engine::workers_max;
        EXPECT_TRUE(check_options(options)) << sector;
    }
}

TEST(Options, that_no_device_can_have_are_refused_and_named) {
    struct Case {
        const char* named;
        void (*spoil)(DeviceOptions&);
    };
    const Case cases[] = {
        {"image", [](DeviceOptions& o) { o.image.clear(); }},
        {"--queues 0", [](DeviceOptions& o) { o.queues = 0; }},
        {"--queues 4097", [](DeviceOptions& o) { o.queues = 4097; }},
        {"--metrics '0.0.0.0:1'", [](DeviceOptions& o) { o.metrics = "0.0.0.0:1"; }},
        {"--depth 0", [](DeviceOptions& o) { o.depth = 0; }},
        {"--depth 4097", [](DeviceOptions& o) { o.depth = 4097; }},
        {"--sector-size 1000", [](DeviceOptions& o) { o.sector_size_bytes = 1000; }},
        {"--sector-size 256", [](DeviceOptions& o) { o.sector_size_bytes = 256; }},
        {"--sector-size 8192", [](DeviceOptions& o) { o.sector_size_bytes = 8192; }},
        {"no policy 'fast'; there are auto, ", [](DeviceOptions& o) { o.policy = "fast"; }},
        {"--workers 0", [](DeviceOptions& o) { o.workers = 0; }},
        {"--workers 513", [](DeviceOptions& o) { o.workers = 513; }},
        {"--workers 3 and --queues 4: each queue needs a worker of its own; use at least "
         "--workers 4, or --queues 3",
         [](DeviceOptions& o) {
             o.workers = 3;
             o.queues = 4;
         }},
        {"name '/'", [](DeviceOptions& o) { o.name = "/"; }},
        {"--charge 'tenants/a': use off, issuer, or the path of a cgroup",
         [](DeviceOptions& o) { o.charge = "tenants/a"; }},
        {"--charge 'on'", [](DeviceOptions& o) { o.charge = "on"; }},
        {"--lane-idle 0: use 1 to 86400 seconds", [](DeviceOptions& o) { o.lane_idle_s = 0; }},
        {"--lane-idle 86401", [](DeviceOptions& o) { o.lane_idle_s = lane_idle_max_s + 1; }},
    };
    for (const Case& spoiled : cases) {
        DeviceOptions options = valid();
        spoiled.spoil(options);
        const Status status = check_options(options);
        ASSERT_FALSE(status) << spoiled.named;
        EXPECT_NE(status.error().message.find(spoiled.named), std::string::npos)
            << status.error().message;
        EXPECT_EQ(status.error().message.find('\n'), std::string::npos);
    }
}

TEST(Charge, is_off_the_issuer_or_the_path_of_a_cgroup) {
    for (const char* charge : {"off", "issuer", "/", "/tenants/a", "/sys/fs/cgroup/tenants/a b"}) {
        EXPECT_TRUE(check_charge(charge)) << charge;
        DeviceOptions options = valid();
        options.charge = charge;
        EXPECT_TRUE(check_options(options)) << charge;
    }
    for (const char* charge : {"", "tenants", "./a", "Issuer", "off ", "../a"}) {
        const Status status = check_charge(charge);
        ASSERT_FALSE(status) << charge;
        EXPECT_NE(status.error().message.find("/tenants/a"), std::string::npos);
    }
}

TEST(Charge, is_the_servers_where_nothing_was_said) {
    EXPECT_TRUE(charges_server(valid().charge));
    EXPECT_TRUE(charges_server("off"));
    EXPECT_FALSE(charges_server("issuer"));
    EXPECT_FALSE(charges_server("/"));
    EXPECT_EQ(charge_of(valid()), "off");
    EXPECT_EQ(charge_of({.image = "i", .charge = "issuer"}), "issuer");
    EXPECT_EQ(valid().lane_idle_s, 60u);
}

TEST(Queues, that_were_asked_for_are_what_a_device_gets) {
    for (const engine::Policy& policy : engine::policies()) {
        DeviceOptions options = valid();
        options.policy = policy.name;
        options.queues = 7;
        EXPECT_EQ(queues_of(options), 7u) << policy.name;
    }
}

TEST(Queues, are_one_by_default_where_the_policys_driver_had_one) {
    for (const engine::Policy& policy : engine::policies()) {
        if (!policy.one_queue) continue;
        DeviceOptions options = valid();
        options.policy = policy.name;
        options.workers = 16;
        EXPECT_EQ(queues_of(options), 1u) << policy.name;
    }
    DeviceOptions options = valid();
    options.policy = "linux-3.19";
    EXPECT_EQ(queues_of(options), 1u);
}

TEST(Queues, are_no_more_by_default_than_the_workers) {
    DeviceOptions options = valid();
    const u32 unbounded = queues_of(options);
    EXPECT_GE(unbounded, 1u);
    EXPECT_LE(unbounded, 4u);
    for (const u32 workers : {1U, 2U, 3U, 512U}) {
        options.workers = workers;
        EXPECT_EQ(queues_of(options), std::min(unbounded, workers));
    }
}

TEST(Policy, that_was_not_asked_for_is_the_default) {
    EXPECT_STREQ(policy_of(valid()).name, "auto");
    DeviceOptions options = valid();
    options.policy = "linux-4.4";
    EXPECT_STREQ(policy_of(options).name, "linux-4.4");
}

TEST(ServeArguments, name_only_what_differs_from_the_defaults) {
    EXPECT_EQ(serve_arguments(valid()), (std::vector<std::string>{"--", "disk.img"}));
}

TEST(ServeArguments, keep_an_image_that_looks_like_an_option_apart) {
    DeviceOptions options = valid();
    options.image = "--help";
    EXPECT_EQ(serve_arguments(options), (std::vector<std::string>{"--", "--help"}));
}

TEST(ServeArguments, carry_every_option) {
    const DeviceOptions options = {.image = "disk.img",
                                   .name = "n",
                                   .transport = TransportChoice::ublk,
                                   .offset_bytes = 1,
                                   .sizelimit_bytes = 2,
                                   .read_only = true,
                                   .sector_size_bytes = 4096,
                                   .direct_io = backing::DirectIo::off,
                                   .queues = 3,
                                   .depth = 4,
                                   .policy = "linux-4.0",
                                   .workers = 5,
                                   .charge = "/tenants/a",
                                   .lane_idle_s = 6};
    EXPECT_EQ(
        serve_arguments(options),
        (std::vector<std::string>{"--name=n", "--transport=ublk", "--offset=1", "--sizelimit=2",
                                  "--read-only", "--sector-size=4096", "--direct-io=off",
                                  "--queues=3", "--depth=4", "--policy=linux-4.0", "--workers=5",
                                  "--charge=/tenants/a", "--lane-idle=6", "--", "disk.img"}));
}

TEST(Choice, is_read_back_from_its_text) {
    using enum backing::DirectIo;
    for (const auto choice : {automatic, on, off}) {
        EXPECT_EQ(parse_direct_io(to_text(choice)), choice);
    }
    using Transport = TransportChoice;
    for (const auto choice :
         {Transport::automatic, Transport::ublk, Transport::nbd, Transport::socket}) {
        EXPECT_EQ(parse_transport(to_text(choice)), choice);
    }
    EXPECT_FALSE(parse_direct_io("yes"));
    EXPECT_FALSE(parse_transport("teleport"));
}

}  // namespace
}  // namespace ringloop::control
