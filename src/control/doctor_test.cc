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
