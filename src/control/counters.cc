#include "control/counters.h"

#include <algorithm>
#include <nlohmann/json.hpp>

#include "control/json_fields.h"

namespace ringloop::control {
namespace {

using engine::ShardStats;
using nlohmann::json;

// What is simply added up over the shards.
struct Sum {
    const char* name;
    Counter ShardStats::* of_shard;
    u64 Counters::* of_device;
};
constexpr std::array sums = {
    Sum{"merged", &ShardStats::merged, &Counters::merged},
    Sum{"operations", &ShardStats::operations, &Counters::operations},
    Sum{"passes", &ShardStats::passes, &Counters::passes},
    Sum{"syscalls", &ShardStats::syscalls, &Counters::syscalls},
    Sum{"nowait_attempts", &ShardStats::nowait_attempts, &Counters::nowait_attempts},
    Sum{"nowait_eagain", &ShardStats::nowait_eagain, &Counters::nowait_eagain},
    Sum{"nowait_unsupported", &ShardStats::nowait_unsupported, &Counters::nowait_unsupported},
    Sum{"hint_skips", &ShardStats::hint_skips, &Counters::hint_skips},
    Sum{"lane_requests", &ShardStats::lane_requests, &Counters::lane_requests},
    Sum{"serial_overflow", &ShardStats::serial_overflow, &Counters::serial_overflow},
    Sum{"lane_fallbacks", &ShardStats::lane_fallbacks, &Counters::lane_fallbacks},
};

// bucket, count, bucket, count ...: most buckets are empty.
json sparse(const HistogramView& histogram) {
    json pairs = json::array();
    for (u32 index = 0; index < histogram_buckets; ++index) {
        if (histogram.counts[index] == 0) continue;
        pairs.push_back(index);
        pairs.push_back(histogram.counts[index]);
    }
    return pairs;
}

HistogramView parse_sparse(const json& object) {
    HistogramView histogram;
    histogram.max = number_in(object, "latency_max_ns");
    const auto pairs = object.find("latency_buckets");
    if (pairs == object.end() || !pairs->is_array()) return histogram;
    for (std::size_t i = 0; i + 1 < pairs->size(); i += 2) {
        const json& index = (*pairs)[i];
        const json& count = (*pairs)[i + 1];
        if (!index.is_number_unsigned() || !count.is_number_unsigned()) continue;
        if (index.get<u64>() < histogram_buckets) {
            histogram.counts[index.get<u64>()] = count.get<u64>();
        }
    }
    return histogram;
}

LaneCounters parse_lane(const json& object) {
    return {.cgroup = text_in(object, "cgroup"),
            .state = text_in(object, "state"),
            .requests = number_in(object, "requests"),
            .bytes_read = number_in(object, "bytes_read"),
            .bytes_written = number_in(object, "bytes_written"),
            .inflight = number_in(object, "inflight"),
            .workers = number_in(object, "workers")};
}

}  // namespace

Counters counters_of(std::span<const ShardStats* const> shards) {
    Counters counters;
    for (const ShardStats* shard : shards) {
        for (u32 i = 0; i < engine::op_count; ++i) {
            OpCounters& op = counters.ops[i];
            op.requests += shard->ops[i].requests.get();
            op.bytes += shard->ops[i].bytes.get();
            op.errors += shard->ops[i].errors.get();
            shard->ops[i].latency_ns.add_to(op.latency_ns);
        }
        for (const Sum& sum : sums) counters.*sum.of_device += (shard->*sum.of_shard).get();
        counters.workers_now += shard->workers_now.get();
        // Finished first: a request that ends in between must not make the difference negative.
        const u64 finished = shard->finished.get();
        counters.inflight += shard->started.get() - finished;
    }
    return counters;
}

LaneCounters root_lane_of(std::span<const ShardStats* const> shards) {
    LaneCounters sum{.cgroup = "(server)", .state = "root"};
    for (const ShardStats* shard : shards) {
        const engine::LaneStats& lane = shard->root_lane;
        const u64 finished = lane.finished.get();  // first, as above
        sum.inflight += lane.started.get() - finished;
        sum.requests += finished;
        sum.bytes_read += lane.bytes_read.get();
        sum.bytes_written += lane.bytes_written.get();
        sum.workers += lane.workers_now.get();
    }
    return sum;
}

LaneCounters lane_counters_of(const cgroup::LaneReport& lane) {
    return {.cgroup = lane.cgroup,
            .state = lane.state,
            .requests = lane.requests,
            .bytes_read = lane.bytes_read,
            .bytes_written = lane.bytes_written,
            .inflight = lane.inflight,
            .workers = lane.workers};
}

json to_json(const Counters& counters) {
    json object = {{"pid", counters.pid},
                   {"at_ns", counters.at_ns},
                   {"inflight", counters.inflight},
                   {"workers_now", counters.workers_now},
                   {"blocking_writes", counters.blocking_writes},
                   {"poisoned", counters.poisoned},
                   {"stopped", counters.stopped},
                   {"held_requests", counters.held}};
    json& ops = object["ops"] = json::object();
    for (u32 i = 0; i < engine::op_count; ++i) {
        const OpCounters& op = counters.ops[i];
        ops[engine::name_of(static_cast<engine::Op>(i))] = {
            {"requests", op.requests},
            {"bytes", op.bytes},
            {"errors", op.errors},
            {"latency_max_ns", op.latency_ns.max},
            {"latency_buckets", sparse(op.latency_ns)}};
    }
    for (const Sum& sum : sums) object[sum.name] = counters.*sum.of_device;
    if (counters.clients) {
        object["connections"] = counters.clients->connections;
        object["connections_accepted"] = counters.clients->accepted;
        object["handshakes_failed"] = counters.clients->handshakes_failed;
        object["connections_broken"] = counters.clients->broken;
    }
    for (const LaneCounters& lane : counters.lanes) {
        object["lanes"].push_back({{"cgroup", lane.cgroup},
                                   {"state", lane.state},
                                   {"requests", lane.requests},
                                   {"bytes_read", lane.bytes_read},
                                   {"bytes_written", lane.bytes_written},
                                   {"inflight", lane.inflight},
                                   {"workers", lane.workers}});
    }
    return object;
}

Result<Counters> parse_counters(const json& object) {
    if (!object.is_object() || !object.contains("ops") || !object["ops"].is_object() ||
        number_in(object, "at_ns") == 0) {
        return fail(EPROTO, "these are no counters; see ringloop upgrade");
    }
    Counters counters;
    counters.pid = static_cast<i32>(number_in(object, "pid"));
    counters.at_ns = number_in(object, "at_ns");
    counters.inflight = number_in(object, "inflight");
    counters.workers_now = number_in(object, "workers_now");
    counters.blocking_writes = number_in(object, "blocking_writes");
    counters.poisoned = object.value("poisoned", json()) == json(true);
    counters.stopped = object.value("stopped", json()) == json(true);
    counters.held = number_in(object, "held_requests");
    for (u32 i = 0; i < engine::op_count; ++i) {
        const auto op = object["ops"].find(engine::name_of(static_cast<engine::Op>(i)));
        if (op == object["ops"].end() || !op->is_object()) continue;
        counters.ops[i] = {.requests = number_in(*op, "requests"),
                           .bytes = number_in(*op, "bytes"),
                           .errors = number_in(*op, "errors"),
                           .latency_ns = parse_sparse(*op)};
    }
    for (const Sum& sum : sums) counters.*sum.of_device = number_in(object, sum.name);
    if (object.contains("connections")) {
        counters.clients =
            nbd::ServiceCounts{.connections = static_cast<u32>(number_in(object, "connections")),
                               .accepted = number_in(object, "connections_accepted"),
                               .handshakes_failed = number_in(object, "handshakes_failed"),
                               .broken = number_in(object, "connections_broken")};
    }
    const auto lanes = object.find("lanes");
    if (lanes != object.end() && lanes->is_array()) {
        for (const json& lane : *lanes) {
            if (lane.is_object()) counters.lanes.push_back(parse_lane(lane));
        }
    }
    return counters;
}

}  // namespace ringloop::control
