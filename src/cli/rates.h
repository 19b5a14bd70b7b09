// What a device did between two looks at its counters.
#pragma once

#include <array>
#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "control/counters.h"

namespace ringloop::cli {

struct OpRates {
    double requests_per_s = 0;
    double bytes_per_s = 0;
    u64 errors = 0;  // of the interval
    u64 p50_ns = 0;  // of the interval; 0 without requests
    u64 p99_ns = 0;
};

struct LaneRates {
    std::string cgroup;
    std::string state;
    double requests_per_s = 0;
    double read_bytes_per_s = 0;
    double written_bytes_per_s = 0;
    u64 inflight = 0;
};

struct Rates {
    double interval_s = 0;
    std::array<OpRates, engine::op_count> ops;
    u64 inflight = 0;              // now
    std::optional<double> nowait;  // of the operations tried without blocking, 0 to 1 succeeded
    double merged_per_s = 0;
    double requests_per_s = 0;  // of all operations
    u64 errors = 0;             // of all operations, of the interval
    u64 p50_ns = 0;             // of all that moves data: reads and writes
    u64 p99_ns = 0;
    std::vector<LaneRates> lanes;
    bool poisoned = false;

    const OpRates& of(engine::Op op) const { return ops[static_cast<u32>(op)]; }
};

// A counter that went back began anew meanwhile, at 0: that of a lane that ended, or all of them
// where `now` is of another server.
Rates rates_between(const control::Counters& before, const control::Counters& now);

nlohmann::json to_json(const Rates& rates);
// A table of operations, a line of the rest, and the table of lanes where there are some.
std::string to_text(const Rates& rates);

}  // namespace ringloop::cli
