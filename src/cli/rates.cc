#include "cli/rates.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <nlohmann/json.hpp>

#include "cli/output.h"

namespace ringloop::cli {
namespace {

using control::Counters;
using control::LaneCounters;
using control::OpCounters;
using nlohmann::json;

u64 since(u64 before, u64 now) { return now >= before ? now - before : now; }

HistogramView since(const HistogramView& before, const HistogramView& now) {
    HistogramView difference;
    for (u32 index = 0; index < histogram_buckets; ++index) {
        const u64 count = since(before.counts[index], now.counts[index]);
        difference.counts[index] = count;
        if (count > 0) difference.max = std::min(histogram_bucket_max(index), now.max);
    }
    return difference;
}

void add(const HistogramView& histogram, HistogramView& sum) {
    for (u32 index = 0; index < histogram_buckets; ++index) {
        sum.counts[index] += histogram.counts[index];
    }
    sum.max = std::max(sum.max, histogram.max);
}

LaneRates lane_between(const std::vector<LaneCounters>& before, const LaneCounters& now,
                       double interval_s) {
    const auto known = std::ranges::find(before, now.cgroup, &LaneCounters::cgroup);
    const LaneCounters begin = known == before.end() ? LaneCounters{} : *known;
    const auto rate = [&](u64 LaneCounters::* counter) {
        return static_cast<double>(since(begin.*counter, now.*counter)) / interval_s;
    };
    return {.cgroup = now.cgroup,
            .state = now.state,
            .requests_per_s = rate(&LaneCounters::requests),
            .read_bytes_per_s = rate(&LaneCounters::bytes_read),
            .written_bytes_per_s = rate(&LaneCounters::bytes_written),
            .inflight = now.inflight};
}

// What a person and a graph can tell apart.
double rounded(double value) { return std::round(value * 100) / 100; }
double to_us(u64 ns) { return std::round(static_cast<double>(ns) / 100) / 10; }

std::string megabytes(double bytes) { return fmt::format("{:.1f}", bytes / 1e6); }
std::string count(double value) { return fmt::format("{:.0f}", value); }

std::string lanes_table(const std::vector<LaneRates>& lanes) {
    std::vector<std::vector<std::string>> rows = {
        {"LANE", "STATE", "IOPS", "READ MB/s", "WRITTEN MB/s", "INFLIGHT"}};
    for (const LaneRates& lane : lanes) {
        rows.push_back({lane.cgroup, lane.state, count(lane.requests_per_s),
                        megabytes(lane.read_bytes_per_s), megabytes(lane.written_bytes_per_s),
                        fmt::format("{}", lane.inflight)});
    }
    return format_table(rows);
}

}  // namespace

Rates rates_between(const Counters& before, const Counters& now) {
    const bool anew = before.pid != now.pid || now.at_ns <= before.at_ns;
    const Counters begin = anew ? Counters{} : before;
    Rates rates;
    rates.interval_s = std::max(static_cast<double>(since(before.at_ns, now.at_ns)) / 1e9, 1e-9);
    HistogramView data;
    for (u32 i = 0; i < engine::op_count; ++i) {
        const OpCounters& from = begin.ops[i];
        const OpCounters& to = now.ops[i];
        const HistogramView latency = since(from.latency_ns, to.latency_ns);
        const auto op = static_cast<engine::Op>(i);
        if (op == engine::Op::read || op == engine::Op::write) add(latency, data);
        rates.ops[i] = {
            .requests_per_s =
                static_cast<double>(since(from.requests, to.requests)) / rates.interval_s,
            .bytes_per_s = static_cast<double>(since(from.bytes, to.bytes)) / rates.interval_s,
            .errors = since(from.errors, to.errors),
            .p50_ns = latency.quantile(0.5),
            .p99_ns = latency.quantile(0.99)};
        rates.requests_per_s += rates.ops[i].requests_per_s;
        rates.errors += rates.ops[i].errors;
    }
    rates.p50_ns = data.quantile(0.5);
    rates.p99_ns = data.quantile(0.99);
    rates.inflight = now.inflight;
    rates.poisoned = now.poisoned;
    rates.merged_per_s = static_cast<double>(since(begin.merged, now.merged)) / rates.interval_s;
    const u64 attempts = since(begin.nowait_attempts, now.nowait_attempts);
    const u64 misses = since(begin.nowait_eagain, now.nowait_eagain) +
                       since(begin.nowait_unsupported, now.nowait_unsupported);
    if (attempts > 0) {
        // The answer of a try may come in a later interval than the try.
        const u64 hits = attempts - std::min(misses, attempts);
        rates.nowait = static_cast<double>(hits) / static_cast<double>(attempts);
    }
    for (const LaneCounters& lane : now.lanes) {
        rates.lanes.push_back(lane_between(begin.lanes, lane, rates.interval_s));
    }
    return rates;
}

json to_json(const Rates& rates) {
    json object = {{"interval_s", rounded(rates.interval_s)},
                   {"inflight", rates.inflight},
                   {"nowait_hit_rate", nullptr},
                   {"merged_per_s", rounded(rates.merged_per_s)},
                   {"errors", rates.errors},
                   {"poisoned", rates.poisoned}};
    if (rates.nowait) object["nowait_hit_rate"] = std::round(*rates.nowait * 1e4) / 1e4;
    for (u32 i = 0; i < engine::op_count; ++i) {
        const OpRates& op = rates.ops[i];
        object["ops"][engine::name_of(static_cast<engine::Op>(i))] = {
            {"requests_per_s", rounded(op.requests_per_s)},
            {"bytes_per_s", rounded(op.bytes_per_s)},
            {"errors", op.errors},
            {"latency_us", {{"p50", to_us(op.p50_ns)}, {"p99", to_us(op.p99_ns)}}}};
    }
    for (const LaneRates& lane : rates.lanes) {
        object["lanes"].push_back({{"cgroup", lane.cgroup},
                                   {"state", lane.state},
                                   {"requests_per_s", rounded(lane.requests_per_s)},
                                   {"bytes_read_per_s", rounded(lane.read_bytes_per_s)},
                                   {"bytes_written_per_s", rounded(lane.written_bytes_per_s)},
                                   {"inflight", lane.inflight}});
    }
    return object;
}

std::string to_text(const Rates& rates) {
    std::vector<std::vector<std::string>> rows = {
        {"", "IOPS", "MB/s", "P50 us", "P99 us", "ERRORS"}};
    for (u32 i = 0; i < engine::op_count; ++i) {
        const OpRates& op = rates.ops[i];
        rows.push_back({engine::name_of(static_cast<engine::Op>(i)), count(op.requests_per_s),
                        megabytes(op.bytes_per_s), fmt::format("{:.1f}", to_us(op.p50_ns)),
                        fmt::format("{:.1f}", to_us(op.p99_ns)), fmt::format("{}", op.errors)});
    }
    std::string text =
        format_table(rows) +
        fmt::format(
            "\nin flight {}, merged {:.0f}/s, tried without blocking: {}, errors {}{}",
            rates.inflight, rates.merged_per_s,
            rates.nowait ? fmt::format("{:.1f} % went through", *rates.nowait * 100) : "nothing",
            rates.errors, rates.poisoned ? ", poisoned" : "");
    if (!rates.lanes.empty()) text += "\n\n" + lanes_table(rates.lanes);
    return text;
}

}  // namespace ringloop::cli
