#include "engine/policy.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace ringloop::engine {
namespace {

constexpr std::array table = {
    Policy{.name = "auto",
           .summary = "tries without blocking, learns what pays, a few workers for the rest",
           .nowait = true,
           .cache_try = true,
           .hint = Hint::learned,
           .direct_async = true,
           .reads_concurrent = true,
           .writes_concurrent = true,
           .workers = 16},
    Policy{.name = "loop-nowait",
           .summary = "NOWAIT first with the hint for sparse files (2025, never released)",
           .nowait = true,
           .hint = Hint::pending,
           .direct_async = true,
           .lane_per_cgroup = true,
           .one_queue = true},
    Policy{.name = "nowait-no-hint",
           .summary = "NOWAIT first for every write, as before the hint: to see what that costs",
           .nowait = true,
           .direct_async = true,
           .lane_per_cgroup = true,
           .one_queue = true},
    Policy{.name = "linux-5.14",
           .summary = "one submitter for each cgroup, asynchronous direct I/O",
           .direct_async = true,
           .lane_per_cgroup = true,
           .one_queue = true},
    Policy{.name = "linux-4.4",
           .summary = "one submitter, asynchronous direct I/O",
           .direct_async = true,
           .one_queue = true},
    Policy{.name = "linux-4.0-capped",
           .summary = "a worker for each read, 16 at most, everything else in turn",
           .reads_concurrent = true,
           .workers = 16,
           .submitters = 16,
           .one_queue = true},
    Policy{.name = "linux-4.0",
           .summary = "a worker for each read, 512 at most, everything else in turn",
           .reads_concurrent = true,
           .workers = 512,
           .submitters = 512,
           .one_queue = true},
    Policy{
        .name = "linux-3.19", .summary = "one worker takes everything in turn", .one_queue = true},
};

}  // namespace

std::span<const Policy> policies() { return table; }
const Policy& default_policy() { return table.front(); }

Result<const Policy*> find_policy(std::string_view name) {
    const auto found = std::ranges::find(table, name, &Policy::name);
    if (found != table.end()) return &*found;
    std::string names;
    for (const Policy& policy : table) {
        if (!names.empty()) names += ", ";
        names += policy.name;
    }
    return fail(EINVAL, "no policy '{}'; there are {}", name, names);
}

std::string explain(const Policy& policy, const PathFacts& facts) {
    return fmt::format("{}: {}", policy.name, facts.direct ? "direct" : "buffered");
}

}  // namespace ringloop::engine
