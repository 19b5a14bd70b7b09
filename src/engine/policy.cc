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
           .origin = "as the NOWAIT series of 2025 did",
           .nowait = true,
           .hint = Hint::pending,
           .direct_async = true,
           .lane_per_cgroup = true,
           .one_queue = true},
    Policy{.name = "nowait-no-hint",
           .summary = "NOWAIT first for every write, as before the hint: to see what that costs",
           .origin = "as the NOWAIT series of 2025 did before its hint",
           .nowait = true,
           .direct_async = true,
           .lane_per_cgroup = true,
           .one_queue = true},
    Policy{.name = "linux-5.14",
           .summary = "one submitter for each cgroup, asynchronous direct I/O",
           .origin = "as Linux does since 5.14",
           .direct_async = true,
           .lane_per_cgroup = true,
           .one_queue = true},
    Policy{.name = "linux-4.4",
           .summary = "one submitter, asynchronous direct I/O",
           .origin = "as Linux 4.4 to 5.13 did",
           .direct_async = true,
           .one_queue = true},
    Policy{.name = "linux-4.0-capped",
           .summary = "a worker for each read, 16 at most, everything else in turn",
           .origin = "as a patch to Linux 4.0 proposed",
           .reads_concurrent = true,
           .workers = 16,
           .one_queue = true},
    Policy{.name = "linux-4.0",
           .summary = "a worker for each read, 512 at most, everything else in turn",
           .origin = "as Linux 4.0 did",
           .reads_concurrent = true,
           .workers = 512,
           .one_queue = true},
    Policy{.name = "linux-3.19",
           .summary = "one worker takes everything in turn",
           .origin = "as Linux 3.19 did",
           .one_queue = true},
};

// Those that direct transfers may keep busy at once.
std::string submitters_text(const Policy& policy, const PathFacts& facts) {
    if (!policy.direct_async) return workers_text(facts.workers);
    return workers_text(facts.queues);  // each has one submitter
}

std::string place(const PathFacts& facts) {
    if (facts.block_device) return "the block device";
    return fmt::format("the filesystem ({})", facts.filesystem);
}

std::string origin_text(const Policy& policy) {
    return *policy.origin ? fmt::format(", {}", policy.origin) : "";
}

// What the policy's driver had is not there by itself: --charge decides, under any policy.
std::string lanes_text(const Policy& policy, const PathFacts& facts) {
    if (facts.charged) return "; the same by a process in each cgroup that is charged";
    return policy.lane_per_cgroup ? "; all cgroups share one lane" : "";
}

// Nothing is tried: what a worker is asked to do, and how long it is kept.
std::string workers_path(const Policy& policy, const PathFacts& facts) {
    const char* each = facts.queues > 1 ? "one worker a queue" : "one worker";
    const char* way = facts.direct ? "direct I/O" : "through the page cache";
    std::string text;
    if (policy.reads_concurrent) {
        text = fmt::format("each read waits in a worker of its own, {} at most, ", facts.workers);
        text += facts.read_only ? "more take turns" : "more take turns with the writes in one";
    } else if (facts.direct && policy.direct_async) {
        text = fmt::format("{} submits everything in turn and waits for none of it", each);
    } else {
        text = fmt::format("{} takes everything in turn and waits for it", each);
    }
    return fmt::format("{}: {}{}", way, text, origin_text(policy));
}

// Rounded up: what happened is not 0 %.
u64 percent_blocked(const PathFacts& facts) {
    const u64 rounded = facts.nowait_eagain * 100 + facts.nowait_attempts - 1;
    return std::min<u64>(rounded / facts.nowait_attempts, 100);
}

// "; 41 % of 1200 tries would have blocked (sparse image: new blocks are allocated) and went to
// 2 workers"
std::string tries_text(const Policy& policy, const PathFacts& facts) {
    const std::string workers = submitters_text(policy, facts);
    if (facts.nowait_attempts == 0) return fmt::format("; what would block goes to {}", workers);
    if (facts.nowait_eagain == 0) return "; so far none would have blocked";
    std::string why;
    if (facts.sparse && !facts.read_only) why = " (sparse image: new blocks are allocated)";
    std::string text = fmt::format("; {} % of {} tries would have blocked{} and went to {}",
                                   percent_blocked(facts), facts.nowait_attempts, why, workers);
    if (facts.hint_skips > 0) {
        const char* since = policy.hint == Hint::learned
                                ? "while others were blocking or tries did not pay"
                                : "while others were blocking";
        text += fmt::format(", as did {} untried {}", facts.hint_skips, since);
    }
    return text;
}

std::string direct_path(const Policy& policy, const PathFacts& facts) {
    const std::string workers = submitters_text(policy, facts);
    const bool writes = !facts.read_only;
    const bool write_tries = writes && facts.nowait_write;
    std::string text = "direct I/O";
    if (!facts.nowait_read && !write_tries) {
        text += fmt::format(": {} takes no NOWAIT, so all goes to {}", place(facts), workers);
    } else {
        text += " without blocking first" + tries_text(policy, facts);
        if (!facts.nowait_read || (writes && !facts.nowait_write)) {
            const char* kind = facts.nowait_read ? "write" : "read";
            text += fmt::format("; {} takes no NOWAIT {}: {}s go to {}", place(facts), kind, kind,
                                workers);
        }
    }
    if (facts.compressing) {
        text += fmt::format("; {} may compress: direct I/O of compressed data is copied there",
                            facts.filesystem);
    }
    return text + origin_text(policy);
}

std::string buffered_path(const PathFacts& facts) {
    const std::string workers = workers_text(facts.workers);
    std::string text = "reads come from the page cache on the shard's own thread";
    if (facts.nowait_read) {
        // The tries are those of reads alone where no write is tried.
        const bool known = (facts.read_only || !facts.nowait_write) && facts.nowait_attempts > 0;
        text += ", what misses ";
        if (known) {
            text +=
                fmt::format("({} % of {} tries) ", percent_blocked(facts), facts.nowait_attempts);
        }
        text += "waits in the kernel";
    } else {
        text = fmt::format("{} takes no NOWAIT read: reads wait in {}", place(facts), workers);
    }
    if (facts.read_only) return text;
    if (facts.nowait_write) {
        return fmt::format("{}; writes are copied into it there too, what would block goes to {}",
                           text, workers);
    }
    return fmt::format(
        "{}; {} takes no NOWAIT write: writes are made at once while they are "
        "fast, then by {}",
        text, place(facts), workers);
}

}  // namespace

std::string workers_text(u32 count) {
    return fmt::format("{} {}", count, count == 1 ? "worker" : "workers");
}

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
    const bool tries = facts.direct ? policy.nowait : policy.cache_try;
    const std::string path = !tries         ? workers_path(policy, facts)
                             : facts.direct ? direct_path(policy, facts)
                                            : buffered_path(facts);
    return path + lanes_text(policy, facts);
}

}  // namespace ringloop::engine
