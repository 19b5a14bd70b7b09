#include "sim/runner.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdlib>
#include <cstring>

namespace ringloop::sim {
namespace {

// What the child leaves to its parent.
struct Report {
    bool ended = false;
    Verdict numbers;  // but for its text
    char wrong[1000];
};

World* world_of_crash = nullptr;
u64 lines_max = 120;

bool belongs(const Trace::Entry& entry, ByteRange wrong) {
    switch (entry.what) {
        case What::sent:
        case What::answered:
        case What::started:
        case What::ended:
        case What::writeback:
        case What::lost_page:
            return wrong.length == 0 || entry.range.length == 0 || entry.range.overlaps(wrong);
        default: return true;
    }
}

// The image's offsets of kernels and disk are the device's plus the same number everywhere, so
// where the device does not begin at 0 their lines are all told.
void tell(const World& world, ByteRange wrong, bool shifted) {
    std::vector<Trace::Entry> story;
    for (const Trace::Entry& entry : world.trace().last()) {
        if (belongs(entry, shifted ? ByteRange{} : wrong)) story.push_back(entry);
    }
    const std::size_t skipped = story.size() > lines_max ? story.size() - lines_max : 0;
    if (skipped > 0) fmt::print("  … {} lines before\n", skipped);
    for (std::size_t i = skipped; i < story.size(); ++i) {
        fmt::print("  {}\n", sentence(story[i]));
    }
    std::fflush(stdout);
}

// Not safe in a signal handler in general; here the process is one thread that has just said so.
void tell_crash(int number) {
    signal(number, SIG_DFL);
    if (world_of_crash) tell(*world_of_crash, {}, true);
    raise(number);
}

// By the processor's time, because a machine may be busy or suspended. A run that sleeps, which
// none should, ends too.
void limit_time(u32 seconds_max) {
    const itimerval limit{.it_interval = {}, .it_value = {.tv_sec = seconds_max, .tv_usec = 0}};
    ASSERT(::setitimer(ITIMER_PROF, &limit, nullptr) == 0);
    ::alarm(20 * seconds_max);
}

bool ended_by_limit(int status) {
    return WIFSIGNALED(status) && (WTERMSIG(status) == SIGALRM || WTERMSIG(status) == SIGPROF);
}

void run_in_child(const Config& config, u64 keep, u32 seconds_max, Report& report) {
    limit_time(seconds_max);
    World world(config, keep);
    world_of_crash = keep > 0 ? &world : nullptr;
    if (keep > 0) {
        for (const int number : {SIGABRT, SIGSEGV, SIGALRM, SIGPROF}) signal(number, tell_crash);
    } else if (const int quiet = ::memfd_create("stderr", MFD_CLOEXEC); quiet >= 0) {
        // A run that fails is run again to tell its story.
        ::dup2(quiet, STDERR_FILENO);
    }
    Verdict verdict = world.run();
    std::strncpy(report.wrong, verdict.wrong.c_str(), sizeof report.wrong - 1);
    if (keep > 0 && !verdict.wrong.empty()) {
        tell(world, verdict.wrong_range, config.offset_pages > 0);
    }
    verdict.wrong.clear();
    std::memcpy(&report.numbers.wrong_range, &verdict.wrong_range, sizeof verdict.wrong_range);
    report.numbers.hash = verdict.hash;
    report.numbers.jobs = verdict.jobs;
    report.numbers.operations = verdict.operations;
    report.numbers.virtual_ns = verdict.virtual_ns;
    report.ended = true;
    std::fflush(stdout);
    // Nothing is taken apart: the process ends anyway.
    ::_exit(0);
}

struct Budget {
    std::chrono::steady_clock::time_point end;
    bool left() const { return std::chrono::steady_clock::now() < end; }
};

bool fails(const Config& config) { return run_apart(config, 0, 10).failed; }

bool try_value(Config& config, const ConfigField& field, u64 value) {
    if (value_of(config, field) == value) return false;
    Config smaller = config;
    set_value(smaller, field, value);
    if (!fails(smaller)) return false;
    config = smaller;
    return true;
}

// To its default, which is nothing for a fault, or at least half way there.
bool shrink_field(Config& config, const ConfigField& field) {
    const u64 value = value_of(config, field);
    const bool is_fault = field.chance != nullptr;
    const u64 least = is_fault ? 0 : value_of(Config{}, field);
    const std::string_view name = field.name;
    if (name == "without" || name == "seed") return false;
    if (name == "ports") {
        for (const u64 port : {port_in_process, port_ublk, port_nbd}) {
            if (value != port && (value & port) != 0 && try_value(config, field, port)) return true;
        }
        return false;
    }
    const bool is_size = name == "jobs" || name == "depth" || name == "device_bytes" ||
                         name == "job_bytes_max" || name == "reads" || name == "hot_sectors";
    if (!is_size) return try_value(config, field, least);
    u64 half = value / 2;
    if (name == "device_bytes" || name == "job_bytes_max") half = align_up(half, sector_bytes);
    return half > 0 && half < value && try_value(config, field, half);
}

}  // namespace

Outcome run_apart(const Config& config, u64 keep, u32 seconds_max) {
    void* memory =
        ::mmap(nullptr, sizeof(Report), PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
    ASSERT(memory != MAP_FAILED);
    auto* report = new (memory) Report{};
    std::fflush(stdout);
    const pid_t child = ::fork();
    ASSERT(child >= 0);
    if (child == 0) run_in_child(config, keep, seconds_max, *report);
    int status = 0;
    ASSERT(::waitpid(child, &status, 0) == child);
    Outcome outcome;
    if (report->ended) {
        outcome.verdict = report->numbers;
        outcome.verdict.wrong = report->wrong;
    } else {
        outcome.crashed = true;
        outcome.verdict.wrong =
            ended_by_limit(status)
                ? fmt::format("the run had not ended after {} s", seconds_max)
                : fmt::format("the server crashed: {}",
                              WIFSIGNALED(status) ? ::strsignal(WTERMSIG(status)) : "exited");
    }
    outcome.failed = !outcome.verdict.wrong.empty();
    ::munmap(memory, sizeof(Report));
    return outcome;
}

Config shrink(const Config& failing, u32 seconds_max) {
    const Budget budget{std::chrono::steady_clock::now() + std::chrono::seconds(seconds_max)};
    Config config = failing;
    for (bool smaller = true; smaller && budget.left();) {
        smaller = false;
        for (const ConfigField& field : config_fields()) {
            while (budget.left() && shrink_field(config, field)) smaller = true;
        }
    }
    for (u32 bit = 0; bit < 64 && budget.left(); ++bit) {
        Config without = config;
        without.without |= u64{1} << bit;
        if (without.without != config.without && fails(without)) config = without;
    }
    return config;
}

}  // namespace ringloop::sim
