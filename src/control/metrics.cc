#include "control/metrics.h"

#include <algorithm>
#include <nlohmann/json.hpp>
#include <vector>

namespace ringloop::control {
namespace {

// Bounds of the buckets: 2^N ns. The counters' own buckets end there too, so nothing is estimated.
constexpr u32 bound_bits_first = 12;  // 4 us
constexpr u32 bound_bits_last = 34;   // 17 s

std::string valid_utf8(std::string_view text) {
    const auto read_back = parse_json(dump_json(nlohmann::json(text)));
    return read_back ? read_back->get<std::string>() : "";
}

// Whole families, one after the other.
class Writer {
public:
    explicit Writer(const std::string& device) : device_(label_value(device)) {}

    void family(std::string_view name, std::string_view type, std::string_view help) {
        name_ = name;
        text_ += fmt::format("# HELP {} {}\n# TYPE {} {}\n", name, help, name, type);
    }
    // `labels`: what follows the device, from the comma on. `suffix`: of a histogram's samples.
    template <typename Number>
    void sample(Number value, std::string_view labels = "", std::string_view suffix = "") {
        text_ += fmt::format("{}{}{{device=\"{}\"{}}} {}\n", name_, suffix, device_, labels, value);
    }
    std::string take() { return std::move(text_); }

private:
    const std::string device_;
    std::string name_;
    std::string text_;
};

std::string op_label(u32 op) {
    return fmt::format(",op=\"{}\"", engine::name_of(static_cast<engine::Op>(op)));
}

struct OpFamily {
    const char* name;
    const char* help;
    u64 OpCounters::* counter;
};
constexpr std::array op_families = {
    OpFamily{"ringloop_requests_total", "Requests answered, with or without success.",
             &OpCounters::requests},
    OpFamily{"ringloop_request_bytes_total", "Bytes of requests answered with success.",
             &OpCounters::bytes},
    OpFamily{"ringloop_request_errors_total", "Requests answered with an error.",
             &OpCounters::errors},
};

struct Family {
    const char* name;
    const char* type;
    const char* help;
    u64 Counters::* counter;
};
constexpr std::array families = {
    Family{"ringloop_requests_in_flight", "gauge", "Requests admitted and not answered.",
           &Counters::inflight},
    Family{"ringloop_workers_busy", "gauge", "Workers that may be waiting for the image.",
           &Counters::workers_now},
    Family{"ringloop_blocking_writes", "gauge", "Direct writes that may block and are not done.",
           &Counters::blocking_writes},
    Family{"ringloop_merged_requests_total", "counter",
           "Requests that travelled in the operation of another one.", &Counters::merged},
    Family{"ringloop_operations_total", "counter", "Operations handed to the kernel for requests.",
           &Counters::operations},
    Family{"ringloop_nowait_attempts_total", "counter", "Operations tried without blocking.",
           &Counters::nowait_attempts},
    Family{"ringloop_nowait_would_block_total", "counter", "Of these, those that would block.",
           &Counters::nowait_eagain},
    Family{"ringloop_nowait_unsupported_total", "counter",
           "Of these, those that the file does not support.", &Counters::nowait_unsupported},
    Family{"ringloop_nowait_skipped_total", "counter",
           "Operations not tried, because lately it did not pay.", &Counters::hint_skips},
    Family{"ringloop_worker_requests_total", "counter", "Requests that a worker was asked to do.",
           &Counters::lane_requests},
    Family{"ringloop_worker_shortages_total", "counter", "Transfers that found no worker free.",
           &Counters::serial_overflow},
    Family{"ringloop_lane_fallbacks_total", "counter",
           "Requests that the server did in place of a lane.", &Counters::lane_fallbacks},
    Family{"ringloop_loop_passes_total", "counter", "Turns of the shards' loops.",
           &Counters::passes},
    Family{"ringloop_system_calls_total", "counter", "System calls of the shards' threads.",
           &Counters::syscalls},
};

// The sum is not counted: each request counts with the middle of its bucket, which is at most 6 %
// from the truth and never goes down.
double estimated_sum_s(const HistogramView& histogram) {
    double sum_ns = 0;
    for (u32 index = 0; index < histogram_buckets; ++index) {
        const u64 below = index == 0 ? 0 : histogram_bucket_max(index - 1) + 1;
        const double middle =
            (static_cast<double>(below) + static_cast<double>(histogram_bucket_max(index))) / 2;
        sum_ns += middle * static_cast<double>(histogram.counts[index]);
    }
    return sum_ns / 1e9;
}

void write_durations(Writer& writer, const Counters& counters) {
    writer.family("ringloop_request_duration_seconds", "histogram",
                  "From the arrival of a request to its answer. The sum is estimated from the "
                  "buckets, within 7 percent.");
    for (u32 op = 0; op < engine::op_count; ++op) {
        const HistogramView& histogram = counters.ops[op].latency_ns;
        const std::string label = op_label(op);
        u64 seen = 0;
        u32 index = 0;
        for (u32 bits = bound_bits_first; bits <= bound_bits_last; ++bits) {
            const u64 bound_ns = u64{1} << bits;
            for (; histogram_bucket_max(index) < bound_ns; ++index) seen += histogram.counts[index];
            writer.sample(seen,
                          fmt::format("{},le=\"{}\"", label, static_cast<double>(bound_ns) / 1e9),
                          "_bucket");
        }
        const u64 total = histogram.total();
        writer.sample(total, label + ",le=\"+Inf\"", "_bucket");
        writer.sample(estimated_sum_s(histogram), label, "_sum");
        writer.sample(total, label, "_count");
    }
}

void write_clients(Writer& writer, const nbd::ServiceCounts& clients) {
    writer.family("ringloop_connections", "gauge", "Clients connected.");
    writer.sample(clients.connections);
    writer.family("ringloop_connections_accepted_total", "counter", "Clients that connected.");
    writer.sample(clients.accepted);
    writer.family("ringloop_handshakes_failed_total", "counter",
                  "Clients that were refused, broke off or were too slow.");
    writer.sample(clients.handshakes_failed);
    writer.family("ringloop_connections_broken_total", "counter",
                  "Connections that ended by an error.");
    writer.sample(clients.broken);
}

// A cgroup whose lane ends while its next one begins has two for a moment, and a series must not
// appear twice.
std::vector<LaneCounters> by_label(std::span<const LaneCounters> lanes) {
    std::vector<LaneCounters> merged;
    for (const LaneCounters& lane : lanes) {
        const std::string label = label_value(lane.cgroup);
        const auto known = std::ranges::find(merged, label, &LaneCounters::cgroup);
        if (known == merged.end()) {
            merged.push_back(lane);
            merged.back().cgroup = label;
            continue;
        }
        known->requests += lane.requests;
        known->bytes_read += lane.bytes_read;
        known->bytes_written += lane.bytes_written;
        known->inflight += lane.inflight;
    }
    return merged;
}

void write_lanes(Writer& writer, std::span<const LaneCounters> lanes) {
    struct LaneFamily {
        const char* name;
        const char* type;
        const char* help;
        u64 LaneCounters::* counter;
    };
    constexpr std::array lane_families = {
        LaneFamily{"ringloop_lane_requests_total", "counter",
                   "Requests of a cgroup that its lane did.", &LaneCounters::requests},
        LaneFamily{"ringloop_lane_read_bytes_total", "counter", "Bytes that a lane read.",
                   &LaneCounters::bytes_read},
        LaneFamily{"ringloop_lane_written_bytes_total", "counter", "Bytes that a lane wrote.",
                   &LaneCounters::bytes_written},
        LaneFamily{"ringloop_lane_requests_in_flight", "gauge", "Requests that a lane has.",
                   &LaneCounters::inflight},
    };
    const auto merged = by_label(lanes);
    for (const LaneFamily& family : lane_families) {
        writer.family(family.name, family.type, family.help);
        for (const LaneCounters& lane : merged) {
            writer.sample(lane.*family.counter, fmt::format(",lane=\"{}\"", lane.cgroup));
        }
    }
}

struct Block {
    std::string name;
    std::string head;     // its HELP and TYPE
    std::string samples;  // of all devices
};

constexpr std::string_view help_mark = "# HELP ";

// Cuts `text` before each "# HELP".
void add_blocks(std::string_view text, std::vector<Block>& blocks) {
    Block* block = nullptr;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size() - 1) + 1;
        const std::string_view line = text.substr(0, end);
        text.remove_prefix(end);
        if (line.starts_with(help_mark)) {
            const std::string_view rest = line.substr(help_mark.size());
            const std::string name(rest.substr(0, rest.find_first_of(" \n")));
            const auto known = std::ranges::find(blocks, name, &Block::name);
            const bool found = known != blocks.end();
            block = found ? &*known : &blocks.emplace_back(name);
            if (!found) block->head = line;
        } else if (block && line.starts_with('#')) {
            if (block->samples.empty()) block->head += line;
        } else if (block) {
            block->samples += line;
        }
    }
}

}  // namespace

std::string metrics_text(const DeviceState& state, const Counters& counters) {
    Writer writer(state.name);
    writer.family("ringloop_device_info", "gauge", "What the device is; always 1.");
    writer.sample(1, fmt::format(",path=\"{}\",image=\"{}\",transport=\"{}\",policy=\"{}\"",
                                 label_value(state.device), label_value(state.backing_file),
                                 transports_text(state), label_value(state.policy)));
    writer.family("ringloop_size_bytes", "gauge", "Size of the device.");
    writer.sample(state.size_bytes);
    writer.family("ringloop_poisoned", "gauge", "1 when a sync failed: every flush fails since.");
    writer.sample(counters.poisoned ? 1 : 0);
    writer.family("ringloop_stopped", "gauge", "1 when a change failed and none is taken since.");
    writer.sample(counters.stopped ? 1 : 0);
    writer.family("ringloop_held_requests", "gauge", "Requests that wait for room on the image.");
    writer.sample(counters.held);
    for (const OpFamily& family : op_families) {
        writer.family(family.name, "counter", family.help);
        for (u32 op = 0; op < engine::op_count; ++op) {
            writer.sample(counters.ops[op].*family.counter, op_label(op));
        }
    }
    write_durations(writer, counters);
    for (const Family& family : families) {
        writer.family(family.name, family.type, family.help);
        writer.sample(counters.*family.counter);
    }
    if (counters.clients) write_clients(writer, *counters.clients);
    if (!counters.lanes.empty()) write_lanes(writer, counters.lanes);
    return writer.take();
}

std::string merge_metrics(std::span<const std::string> texts) {
    std::vector<Block> blocks;
    for (const std::string& text : texts) add_blocks(text, blocks);
    std::string merged;
    for (const Block& block : blocks) merged += block.head + block.samples;
    return merged;
}

std::string label_value(std::string_view text) {
    std::string value;
    for (const char c : valid_utf8(text)) {
        if (c == '\\') {
            value += "\\\\";
        } else if (c == '"') {
            value += "\\\"";
        } else if (c == '\n') {
            value += "\\n";
        } else {
            value.push_back(c);
        }
    }
    return value;
}

}  // namespace ringloop::control
