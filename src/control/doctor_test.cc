#include "control/doctor.h"

#include <gtest/gtest.h>

namespace ringloop::control {
namespace {

TEST(KnownDefect, is_found_in_the_kernels_that_have_it) {
    for (const char* release : {"6.18.4", "6.18.5-arch1-1", "6.17.0-1015-azure", "6.17.0-1017-aws",
                                "6.17.0", "6.18.40-generic", "7.0.0", "7.0.14-1-amd64"}) {
        EXPECT_TRUE(known_defect(release)) << release;
    }
}

TEST(KnownDefect, is_not_found_in_their_neighbours) {
    for (const char* release : {"6.1.0-41-amd64", "6.12.117+deb12-amd64", "6.17.1", "6.18.3",
                                "6.18.6", "6.18.39", "6.18.41", "7.0.15", "7.1.0", "", "x"}) {
        EXPECT_FALSE(known_defect(release)) << release;
    }
}

TEST(Lanes, work_where_both_controllers_are_and_processes_may_be_started) {
    const CgroupFacts facts = {.v2 = true, .v2_controllers = "cpu io memory", .root = true};
    EXPECT_EQ(lanes_finding(facts).health, Health::ok);
    EXPECT_EQ(lanes_finding(facts).fact,
              "I/O and memory can be charged to other cgroups (version 2)");
    EXPECT_EQ(cgroup_finding(facts).fact, "version 2: cpu io memory");
    const CgroupFacts v1 = {.blkio_v1 = true, .memory_v1 = true, .root = true};
    EXPECT_EQ(lanes_finding(v1).fact, "I/O and memory can be charged to other cgroups (version 1)");
    EXPECT_EQ(cgroup_finding(v1).fact, "version 1: blkio memory");
    const CgroupFacts mixed = {
        .v2 = true, .v2_controllers = "memory", .blkio_v1 = true, .root = true};
    EXPECT_EQ(lanes_finding(mixed).health, Health::ok);
    EXPECT_EQ(cgroup_finding(mixed).fact, "version 2: memory; version 1: blkio");
}

TEST(Lanes, that_do_not_work_here_come_with_the_reason_and_the_way_out) {
    struct Case {
        CgroupFacts facts;
        const char* said;
    };
    for (const Case& bad :
         {Case{{.error = "no cgroup filesystem is mounted here", .root = true}, "no cgroups"},
          Case{{.v2 = true, .v2_controllers = "cpu io", .root = true}, "memory cannot be charged"},
          Case{{.v2 = true, .v2_controllers = "memory iox", .root = true}, "I/O cannot be charged"},
          Case{{.v2 = true, .root = true}, "I/O and memory cannot be"},
          Case{{.v2 = true, .v2_controllers = "io memory"}, "this user may start processes"}}) {
        const Finding finding = lanes_finding(bad.facts);
        EXPECT_EQ(finding.health, Health::warn);
        EXPECT_NE(finding.fact.find(bad.said), std::string::npos) << finding.fact;
        EXPECT_FALSE(finding.remedy.empty());
    }
    EXPECT_EQ(cgroup_finding({.v2 = true}).fact, "version 2 without controllers");
}

TEST(UblkUsers, are_told_whether_they_may_and_who_can_change_that) {
    EXPECT_EQ(users_finding({}).fact, "none: the ublk driver is not loaded");
    const UsersFacts may = {.loaded = true, .permitted = true, .supported = true};
    EXPECT_EQ(users_finding(may).health, Health::ok);
    EXPECT_EQ(users_finding(may).fact, "this user can have ublk devices");
    const Finding closed = users_finding({.loaded = true});
    EXPECT_EQ(closed.health, Health::warn);
    EXPECT_EQ(closed.fact, "/dev/ublk-control is not open to this user");
    EXPECT_FALSE(closed.remedy.empty());
    const UsersFacts old = {.loaded = true, .permitted = true, .supported = false};
    EXPECT_NE(users_finding(old).fact.find("root alone"), std::string::npos);
    for (const bool open : {false, true}) {
        const Finding root = users_finding({.administrator = true,
                                            .loaded = true,
                                            .permitted = true,
                                            .open_to_users = open,
                                            .supported = true});
        EXPECT_EQ(root.health, Health::ok);
        EXPECT_EQ(root.fact.find("root's alone") == std::string::npos, open) << root.fact;
    }
}

TEST(Diagnosis, says_of_this_host_what_it_is_and_what_to_do) {
    const Diagnosis diagnosis = diagnose();
    ASSERT_FALSE(diagnosis.findings.empty());
    for (const Finding& finding : diagnosis.findings) {
        EXPECT_FALSE(finding.topic.empty());
        EXPECT_FALSE(finding.fact.empty()) << finding.topic;
        EXPECT_FALSE(diagnosis.usable && finding.health == Health::fail) << finding.topic;
    }
}

}  // namespace
}  // namespace ringloop::control
