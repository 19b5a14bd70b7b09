#include "control/metrics.h"

#include <gtest/gtest.h>

namespace ringloop::control {
namespace {

bool has(const std::string& text, std::string_view line) {
    return ("\n" + text).find("\n" + std::string(line) + "\n") != std::string::npos;
}

DeviceState state() {
    return {.name = "disk",
            .device = "/dev/ublkb0",
            .backing_file = "/images/a \"b\\c\nd.img",
            .size_bytes = 4096,
            .policy = "auto"};
}

TEST(Metrics, have_labels_that_no_file_name_can_break) {
    EXPECT_EQ(label_value("a\"b\\c\nd"), "a\\\"b\\\\c\\nd");
    EXPECT_EQ(label_value("\xff x"), "\xef\xbf\xbd x");
    EXPECT_EQ(label_value("gr\xc3\xbcn"), "gr\xc3\xbcn");
    EXPECT_TRUE(has(metrics_text(state(), {}),
                    "ringloop_device_info{device=\"disk\",path=\"/dev/ublkb0\","
                    "image=\"/images/a \\\"b\\\\c\\nd.img\",transport=\"ublk\",policy=\"auto\"} "
                    "1"));
}

TEST(Metrics, count_requests_bytes_and_errors_of_each_operation) {
    Counters counters;
    counters.of(engine::Op::write).requests = 3;
    counters.of(engine::Op::write).bytes = ~u64{0};
    counters.of(engine::Op::flush).errors = 5;
    counters.inflight = 6;
    counters.poisoned = true;
    counters.held = 2;
    const std::string text = metrics_text(state(), counters);
    EXPECT_TRUE(has(text, "# TYPE ringloop_requests_total counter"));
    EXPECT_TRUE(has(text, "ringloop_requests_total{device=\"disk\",op=\"write\"} 3"));
    EXPECT_TRUE(has(text,
                    "ringloop_request_bytes_total{device=\"disk\",op=\"write\"} "
                    "18446744073709551615"));
    EXPECT_TRUE(has(text, "ringloop_request_errors_total{device=\"disk\",op=\"flush\"} 5"));
    EXPECT_TRUE(has(text, "ringloop_requests_in_flight{device=\"disk\"} 6"));
    EXPECT_TRUE(has(text, "ringloop_poisoned{device=\"disk\"} 1"));
    EXPECT_TRUE(has(text, "ringloop_stopped{device=\"disk\"} 0"));
    EXPECT_TRUE(has(text, "ringloop_held_requests{device=\"disk\"} 2"));
    EXPECT_EQ(text.find("ringloop_connections"), std::string::npos) << "there are no sockets";
    EXPECT_EQ(text.find("ringloop_lane_requests_total"), std::string::npos);
}

TEST(Metrics, have_a_cumulative_histogram_of_seconds) {
    Counters counters;
    HistogramView& latency = counters.of(engine::Op::read).latency_ns;
    latency.counts[histogram_bucket(1'000)] = 1;
    latency.counts[histogram_bucket(4'095)] = 1;
    latency.counts[histogram_bucket(4'096)] = 2;
    latency.counts[histogram_bucket(60'000'000'000)] = 4;  // beyond the last bound
    const std::string text = metrics_text(state(), counters);
    const std::string name = "ringloop_request_duration_seconds";
    EXPECT_TRUE(has(text, "# TYPE " + name + " histogram"));
    const std::string label = "{device=\"disk\",op=\"read\"";
    EXPECT_TRUE(has(text, name + "_bucket" + label + ",le=\"4.096e-06\"} 2"));
    EXPECT_TRUE(has(text, name + "_bucket" + label + ",le=\"8.192e-06\"} 4"));
    EXPECT_TRUE(has(text, name + "_bucket" + label + ",le=\"17.179869184\"} 4"));
    EXPECT_TRUE(has(text, name + "_bucket" + label + ",le=\"+Inf\"} 8"));
    EXPECT_TRUE(has(text, name + "_count" + label + "} 8"));
    const std::size_t at = text.find(name + "_sum" + label + "} ");
    ASSERT_NE(at, std::string::npos);
    const double sum = std::stod(text.substr(text.find("} ", at) + 2));
    EXPECT_NEAR(sum, 240.0, 240.0 * 0.07);
}

TEST(Metrics, tell_lanes_apart_by_their_cgroups) {
    Counters counters;
    counters.lanes = {{.cgroup = "(server)", .requests = 1},
                      {.cgroup = "/a", .requests = 2, .bytes_written = 10},
                      {.cgroup = "/a", .requests = 3, .bytes_written = 20}};
    const std::string text = metrics_text(state(), counters);
    EXPECT_TRUE(has(text, "ringloop_lane_requests_total{device=\"disk\",lane=\"(server)\"} 1"));
    EXPECT_TRUE(has(text, "ringloop_lane_requests_total{device=\"disk\",lane=\"/a\"} 5"));
    EXPECT_TRUE(has(text, "ringloop_lane_written_bytes_total{device=\"disk\",lane=\"/a\"} 30"));
}

TEST(Metrics, of_several_devices_have_each_family_once) {
    const std::string one =
        "# HELP a x\n# TYPE a counter\na{device=\"1\"} 1\n"
        "# HELP b y\n# TYPE b gauge\nb{device=\"1\"} 2\n";
    const std::string two =
        "# HELP a x\n# TYPE a counter\na{device=\"2\"} 3\n"
        "# HELP c z\n# TYPE c gauge\nc{device=\"2\"} 4\n";
    EXPECT_EQ(merge_metrics(std::vector{one, two}),
              "# HELP a x\n# TYPE a counter\na{device=\"1\"} 1\na{device=\"2\"} 3\n"
              "# HELP b y\n# TYPE b gauge\nb{device=\"1\"} 2\n"
              "# HELP c z\n# TYPE c gauge\nc{device=\"2\"} 4\n");
    EXPECT_EQ(merge_metrics({}), "");
    EXPECT_EQ(merge_metrics(std::vector<std::string>{one}), one);
}

}  // namespace
}  // namespace ringloop::control
