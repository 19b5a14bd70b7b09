#include <array>
#include <nlohmann/json.hpp>

#include "base/size.h"
#include "cli/background.h"
#include "cli/device_status.h"
#include "cli/lanes.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "control/devices.h"

namespace ringloop::cli {
namespace {

using nlohmann::json;

std::string size_of(const json& object, const char* field) {
    const auto found = object.find(field);
    if (found == object.end() || !found->is_number_unsigned()) return "-";
    const u64 bytes = found->get<u64>();
    return fmt::format("{} bytes ({})", bytes, format_size(bytes));
}

// "no: the reason"
std::string with_reason(const json& object, const std::string& field) {
    std::string text = text_of(object, field.c_str());
    const std::string reason = text_of(object, (field + "_reason").c_str());
    if (reason != "-" && !reason.empty()) text += ": " + reason;
    return text;
}

std::vector<std::string> uris_of(const json& object) {
    std::vector<std::string> uris;
    const auto nbd = object.find("nbd");
    if (nbd == object.end() || !nbd->is_object() || !nbd->contains("uris")) return uris;
    for (const json& uri : (*nbd)["uris"]) {
        if (uri.is_string()) uris.push_back(uri.get<std::string>());
    }
    return uris;
}

std::string facts_table(const json& object) {
    std::vector<std::vector<std::string>> rows;
    for (const char* field : {"name", "device", "transport", "backing_file"}) {
        rows.push_back({field, text_of(object, field)});
    }
    for (const std::string& uri : uris_of(object)) rows.push_back({"uri", uri});
    for (const char* field :
         {"connections", "connections_accepted", "handshakes_failed", "connections_broken"}) {
        if (object.contains(field)) rows.push_back({field, text_of(object, field)});
    }
    for (const char* field : {"size_bytes", "offset_bytes", "sizelimit_bytes"}) {
        rows.push_back({field, size_of(object, field)});
    }
    for (const char* field :
         {"sector_size", "read_only", "queues", "depth", "workers", "pid", "state", "started_at"}) {
        rows.push_back({field, text_of(object, field)});
    }
    if (object.contains("metrics")) rows.push_back({"metrics", text_of(object, "metrics")});
    for (const char* field :
         {"on_error", "stopped", "paused", "degraded", "policy", "charge", "direct_io", "poisoned",
          "io_flusher", "memory_locked", "oom_protected", "private_mounts", "sandbox",
          "capabilities_dropped", "landlock", "seccomp", "rings_restricted", "opener"}) {
        if (object.contains(field)) rows.push_back({field, with_reason(object, field)});
    }
    const auto kept = object.find("capabilities_kept");
    if (kept != object.end() && kept->is_array()) {
        for (const json& one : *kept) {
            if (one.is_string()) rows.push_back({"capability_kept", one.get<std::string>()});
        }
    }
    return format_table(rows);
}

std::string stats_table(const json& stats) {
    constexpr std::array<const char*, 4> quantiles = {"p50", "p99", "p999", "max"};
    std::vector<std::vector<std::string>> rows = {
        {"", "REQUESTS", "BYTES", "ERRORS", "P50 us", "P99 us", "P99.9 us", "MAX us"}};
    for (const auto& [op, counters] : stats.items()) {
        if (!counters.is_object()) continue;
        std::vector<std::string> row = {op};
        for (const char* field : {"requests", "bytes", "errors"}) {
            row.push_back(text_of(counters, field));
        }
        const auto latency = counters.find("latency_us");
        for (const char* quantile : quantiles) {
            const bool known = latency != counters.end() && latency->is_object();
            row.push_back(known ? text_of(*latency, quantile) : "-");
        }
        rows.push_back(std::move(row));
    }
    return format_table(rows);
}

// How transfers were dispatched: a few lines, in the order in which one meets these numbers.
std::string counters_text(const json& stats) {
    const auto line = [&stats](std::initializer_list<std::array<const char*, 2>> counters) {
        std::string text;
        for (const auto& [label, field] : counters) {
            text += (text.empty() ? "" : ", ") + fmt::format("{} {}", label, text_of(stats, field));
        }
        return text;
    };
    return line({{"merged", "merged"}, {"operations", "operations"}, {"in flight", "inflight"}}) +
           "\n" +
           line({{"tried without blocking", "nowait_attempts"},
                 {"would have blocked", "nowait_eagain"},
                 {"not supported", "nowait_unsupported"},
                 {"not tried", "hint_skips"}}) +
           "\n" +
           line({{"for workers", "lane_requests"},
                 {"workers busy", "workers_now"},
                 {"at most", "workers_max_seen"},
                 {"found none free", "serial_overflow"},
                 {"blocking writes", "blocking_writes"}}) +
           "\n" +
           line({{"passes", "passes"},
                 {"system calls", "syscalls"},
                 {"context switches", "context_switches"}});
}

}  // namespace

int run(const StatusOf& command) {
    const auto directory = control::RuntimeDir::open();
    if (!directory) return report(directory.error());
    const auto device = control::find_device(*directory, command.target);
    if (!device) return report(device.error());
    const auto object = status_of(*directory, *device);
    if (!object) return report(object.error());
    if (command.json) {
        return print_line(control::dump_json(*object, true)) ? exit_done : exit_failed;
    }
    std::string text = facts_table(*object);
    const auto stats = object->find("stats");
    if (stats != object->end() && stats->is_object()) {
        text += "\n\n" + stats_table(*stats) + "\n" + counters_text(*stats);
    }
    const std::string lanes = lanes_text(*object);
    if (!lanes.empty()) text += "\n\n" + lanes;
    return print_line(text) ? exit_done : exit_failed;
}

}  // namespace ringloop::cli
