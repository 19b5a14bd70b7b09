#include "cli/lanes.h"

#include <gtest/gtest.h>

namespace ringloop::cli {
namespace {

using nlohmann::json;

control::KnownDevice device(const char* name, bool served = true) {
    return {.state = {.name = name, .device = "/dev/x", .phase = control::Phase::live},
            .served = served};
}

const json charging = {{"charge", "issuer"},
                       {"lanes",
                        {{{"cgroup", "(server)"},
                          {"state", "root"},
                          {"pid", 1},
                          {"requests", 4},
                          {"bytes_read", 0U},
                          {"bytes_written", 512U},
                          {"inflight", 0},
                          {"workers", 0},
                          {"idle_s", nullptr}},
                         {{"cgroup", "/tenants/a\n"},
                          {"state", "idle"},
                          {"pid", 2},
                          {"requests", 1234},
                          {"bytes_read", 1U << 20},
                          {"bytes_written", 0U},
                          {"inflight", 1},
                          {"workers", 2},
                          {"idle_s", 7}}}},
                       {"lane_idle_s", 60},
                       {"lanes_started", 3},
                       {"lanes_reaped", 2},
                       {"lanes_lost", 1},
                       {"lanes_refused", 0},
                       {"lane_fallbacks", 9},
                       {"lane_trouble", "cgroup /b is gone"}};

TEST(Lanes, of_all_devices_are_one_table) {
    const std::vector<Asked> devices = {{device("a"), charging},
                                        {device("b"), json{{"charge", "off"}}},
                                        {device("c", false), json{{"charge", "issuer"}}},
                                        {device("d"), fail(EIO, "d: no answer")}};
    EXPECT_EQ(lanes_table(devices),
              "NAME  CGROUP            STATE  REQUESTS  READ     WRITTEN  INFLIGHT  WORKERS  IDLE\n"
              "a     (server)          root   4         0 B      512 B    0         0        -\n"
              "a     /tenants/a\\x0a    idle   1234      1.0 MiB  0 B      1         2        7 s\n"
              "b     (charges nobody)  -      -         -        -        -         -        -\n"
              "c     (dead)            -      -         -        -        -         -        -\n"
              "d     (no answer)       -      -         -        -        -         -        -");
}

TEST(Lanes, as_objects_keep_what_the_server_said) {
    const std::vector<Asked> devices = {{device("a"), charging},
                                        {device("b"), json{{"charge", "off"}}},
                                        {device("d"), fail(EIO, "d: no answer")}};
    const json array = lanes_json(devices);
    ASSERT_EQ(array.size(), 3u);
    EXPECT_EQ(array[0]["name"], "a");
    for (const auto& [field, value] : charging.items()) EXPECT_EQ(array[0][field], value) << field;
    EXPECT_EQ(array[1], (json{{"name", "b"}, {"device", "/dev/x"}, {"charge", "off"}}));
    EXPECT_EQ(array[2], (json{{"name", "d"}, {"device", "/dev/x"}, {"error", "d: no answer"}}));
}

TEST(Lanes, of_one_device_come_with_what_became_of_others) {
    EXPECT_EQ(
        lanes_text(charging),
        "CGROUP          STATE  REQUESTS  READ     WRITTEN  INFLIGHT  WORKERS  IDLE\n"
        "(server)        root   4         0 B      512 B    0         0        -\n"
        "/tenants/a\\x0a  idle   1234      1.0 MiB  0 B      1         2        7 s\n"
        "lanes started 3, ended because nobody needed them 2, lost 1, not started 0, requests "
        "that the server served instead 9; idle ones end after 60 s\n"
        "last trouble: cgroup /b is gone");
    EXPECT_EQ(lanes_text({{"charge", "off"}}), "");
}

TEST(Lanes, that_a_server_tells_of_in_another_way_are_no_trouble) {
    EXPECT_EQ(lanes_text({{"lanes", 3}}), "");
    EXPECT_NE(lanes_text({{"lanes", {1, {{"cgroup", 5}, {"bytes_read", "x"}}}}}), "");
}

}  // namespace
}  // namespace ringloop::cli
