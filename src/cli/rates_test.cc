#include "cli/rates.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace ringloop::cli {
namespace {

using control::Counters;
using engine::Op;

Counters at(u64 seconds) { return {.pid = 1, .at_ns = seconds * 1'000'000'000}; }

TEST(Rates, are_differences_by_the_servers_clock) {
    Counters before = at(1);
    before.of(Op::read) = {.requests = 10, .bytes = 1000, .errors = 1};
    Counters now = at(3);
    now.of(Op::read) = {.requests = 110, .bytes = 5'000'000, .errors = 3};
    now.of(Op::write).requests = 50;
    now.merged = 8;
    now.inflight = 4;
    const Rates rates = rates_between(before, now);
    EXPECT_DOUBLE_EQ(rates.interval_s, 2);
    EXPECT_DOUBLE_EQ(rates.of(Op::read).requests_per_s, 50);
    EXPECT_DOUBLE_EQ(rates.of(Op::read).bytes_per_s, 4'999'000 / 2.0);
    EXPECT_DOUBLE_EQ(rates.requests_per_s, 75);
    EXPECT_EQ(rates.errors, 2u);
    EXPECT_DOUBLE_EQ(rates.merged_per_s, 4);
    EXPECT_EQ(rates.inflight, 4u);
}

TEST(Rates, have_the_quantiles_of_the_interval_alone) {
    Counters before = at(1);
    before.of(Op::read).latency_ns.counts[histogram_bucket(1'000'000'000)] = 1000;
    before.of(Op::read).latency_ns.max = 1'000'000'000;
    Counters now = before;
    now.at_ns *= 2;
    now.of(Op::read).latency_ns.counts[histogram_bucket(10'000)] += 98;
    now.of(Op::read).latency_ns.counts[histogram_bucket(80'000)] += 2;
    const Rates rates = rates_between(before, now);
    EXPECT_EQ(rates.of(Op::read).p50_ns, histogram_bucket_max(histogram_bucket(10'000)));
    EXPECT_EQ(rates.of(Op::read).p99_ns, histogram_bucket_max(histogram_bucket(80'000)));
    EXPECT_EQ(rates.p99_ns, rates.of(Op::read).p99_ns);
    EXPECT_EQ(rates.of(Op::write).p99_ns, 0u);
}

TEST(Rates, know_how_many_tries_went_through) {
    Counters before = at(1);
    before.nowait_attempts = 100;
    before.nowait_eagain = 100;
    Counters now = before;
    now.at_ns *= 2;
    EXPECT_FALSE(rates_between(before, now).nowait) << "nothing was tried";
    now.nowait_attempts += 100;
    now.nowait_eagain += 9;
    now.nowait_unsupported += 1;
    EXPECT_DOUBLE_EQ(*rates_between(before, now).nowait, 0.9);
    now.nowait_eagain += 1000;  // of tries before the interval
    EXPECT_DOUBLE_EQ(*rates_between(before, now).nowait, 0);
}

TEST(Rates, begin_anew_with_a_server_or_a_lane) {
    Counters before = at(1);
    before.of(Op::read).requests = 1000;
    before.lanes = {{.cgroup = "/a", .requests = 500}, {.cgroup = "/gone", .requests = 1}};
    Counters now = at(2);
    now.of(Op::read).requests = 1010;
    now.lanes = {{.cgroup = "/new", .requests = 7}, {.cgroup = "/a", .requests = 3}};
    Rates rates = rates_between(before, now);
    EXPECT_DOUBLE_EQ(rates.of(Op::read).requests_per_s, 10);
    ASSERT_EQ(rates.lanes.size(), 2u);
    EXPECT_DOUBLE_EQ(rates.lanes[0].requests_per_s, 7);
    EXPECT_DOUBLE_EQ(rates.lanes[1].requests_per_s, 3);
    now.pid = 2;
    rates = rates_between(before, now);
    EXPECT_DOUBLE_EQ(rates.of(Op::read).requests_per_s, 1010);
}

TEST(Rates, are_a_table_and_an_object) {
    Counters before = at(1);
    Counters now = at(2);
    now.of(Op::write) = {.requests = 12, .bytes = 3'400'000, .errors = 1};
    now.lanes = {{.cgroup = "/tenants/a", .state = "busy", .requests = 12, .inflight = 5}};
    const Rates rates = rates_between(before, now);
    const std::string text = to_text(rates);
    EXPECT_NE(text.find("\nwrite         12    3.4   0.0     0.0     1\n"), std::string::npos)
        << text;
    EXPECT_NE(text.find("tried without blocking: nothing, errors 1"), std::string::npos) << text;
    EXPECT_NE(text.find("\n/tenants/a  busy   12 "), std::string::npos) << text;
    const nlohmann::json object = to_json(rates);
    EXPECT_EQ(object["ops"]["write"]["requests_per_s"], 12.0);
    EXPECT_EQ(object["ops"]["write"]["bytes_per_s"], 3'400'000.0);
    EXPECT_EQ(object["nowait_hit_rate"], nullptr);
    EXPECT_EQ(object["lanes"][0]["inflight"], 5);
}

}  // namespace
}  // namespace ringloop::cli
