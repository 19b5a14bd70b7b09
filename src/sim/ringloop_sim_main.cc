// ringloop-sim: the server on a simulated kernel, run after run, each from a seed of its own.
// docs/testing.md tells how to read what it prints.
#include <fmt/format.h>
#include <signal.h>
#include <unistd.h>

#include <CLI/CLI.hpp>
#include <chrono>
#include <csignal>
#include <optional>

#include "base/log.h"
#include "sim/runner.h"

#ifndef RINGLOOP_COMMIT
#define RINGLOOP_COMMIT "unknown"
#endif

namespace ringloop::sim {
namespace {

constexpr int exit_interrupted = 130;

struct Options {
    std::optional<u64> seed;
    u64 runs = 0;
    double minutes = 0;
    double simulated_hours = 0;
    std::vector<std::string> settings;
    bool replay = false;
    bool plain = false;
    bool shrink = true;
    u64 story = 20'000;
    u32 shrink_s = 60;
};

// ^C ends after the run that is under way, with what came of those before; a second one at once.
volatile std::sig_atomic_t interrupted = 0;

void end_when_asked() {
    struct sigaction action{};
    action.sa_handler = [](int) { interrupted = 1; };
    action.sa_flags = SA_RESTART | static_cast<int>(SA_RESETHAND);
    for (const int number : {SIGINT, SIGTERM}) ::sigaction(number, &action, nullptr);
}

u64 seed_from_clock() {
    const auto now = std::chrono::system_clock::now().time_since_epoch();
    u64 state = static_cast<u64>(now.count()) ^ static_cast<u64>(::getpid());
    return Prng::splitmix(state) % 1'000'000'000'000;
}

std::optional<Config> configure(const Options& options, u64 seed) {
    Config config = options.plain ? Config{.seed = seed} : Config::draw(seed);
    for (const std::string& setting : options.settings) {
        const std::size_t equals = setting.find('=');
        const std::string name = setting.substr(0, equals);
        char* end = nullptr;
        const std::string digits =
            equals == std::string::npos ? std::string() : setting.substr(equals + 1);
        const u64 value = std::strtoull(digits.c_str(), &end, 10);
        if (digits.empty() || *end != '\0') {
            fmt::print(stderr, "ringloop-sim: {}: expected NAME=NUMBER\n", setting);
            return std::nullopt;
        }
        if (Status status = config.set(name, value); !status) {
            fmt::print(stderr, "ringloop-sim: {}\n", status.error().message);
            return std::nullopt;
        }
    }
    return config;
}

std::string replay_command(const Config& config) {
    std::string settings;
    for (const ConfigField& field : config_fields()) {
        const u64 value = value_of(config, field);
        if (value == value_of(Config{}, field)) continue;
        settings += fmt::format(" --set {}={}", field.name, value);
    }
    return fmt::format("ringloop-sim --replay --plain --seed {}{}", config.seed, settings);
}

void tell_failure(const Config& failing, const Outcome& outcome, const Options& options) {
    fmt::print("\nseed {} of commit {} FAILS: {}\n", failing.seed, RINGLOOP_COMMIT,
               outcome.verdict.wrong);
    fmt::print("  {}\n", failing.text());
    Config config = failing;
    if (options.shrink) {
        config = shrink(failing, options.shrink_s);
        fmt::print("shrunk to:\n  {}\n", config.text());
    }
    fmt::print("what happened:\n");
    const Outcome again = run_apart(config, options.story);
    fmt::print("{}\n", again.verdict.wrong);
    if (!again.failed) fmt::print("which did not fail again: not a function of its seed\n");
    fmt::print("again: {}\n", replay_command(config));
}

struct Total {
    u64 runs = 0;
    u64 jobs = 0;
    u64 operations = 0;
    double hours = 0;

    void add(const Verdict& verdict) {
        ++runs;
        jobs += verdict.jobs;
        operations += verdict.operations;
        hours += static_cast<double>(verdict.virtual_ns) / 3.6e12;
    }
};

bool enough(const Options& options, const Total& total, double minutes) {
    if (interrupted || (options.runs > 0 && total.runs >= options.runs)) return true;
    if (options.minutes > 0 && minutes >= options.minutes) return true;
    if (options.simulated_hours > 0 && total.hours >= options.simulated_hours) return true;
    return options.runs == 0 && options.minutes == 0 && options.simulated_hours == 0 &&
           total.runs >= 1;
}

int replay(const Options& options, u64 seed) {
    const auto config = configure(options, seed);
    if (!config) return 2;
    const Outcome outcome = run_apart(*config, options.story, 120);
    fmt::print("seed {}: {} jobs, {} operations, hash {:016x}: {}\n", seed, outcome.verdict.jobs,
               outcome.verdict.operations, outcome.verdict.hash,
               outcome.failed ? outcome.verdict.wrong : "nothing is wrong");
    return outcome.failed ? 1 : 0;
}

int run_all(const Options& options, u64 seed) {
    const auto begin = std::chrono::steady_clock::now();
    const auto minutes = [&] {
        return std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count() / 60;
    };
    fmt::print("commit {}, seeds from {} on\n", RINGLOOP_COMMIT, seed);
    std::fflush(stdout);
    end_when_asked();
    Total total;
    for (; !enough(options, total, minutes()); ++seed) {
        const auto config = configure(options, seed);
        if (!config) return 2;
        const Outcome outcome = run_apart(*config);
        total.add(outcome.verdict);
        if (!outcome.failed) continue;
        tell_failure(*config, outcome, options);
        fmt::print("{} runs, {} operations before it\n", total.runs - 1, total.operations);
        return 1;
    }
    fmt::print(
        "{} runs, {} jobs, {} operations, {:.2f} simulated hours in {:.1f} minutes: "
        "nothing is wrong\n",
        total.runs, total.jobs, total.operations, total.hours, minutes());
    return interrupted ? exit_interrupted : 0;
}

int run(int argc, char** argv) {
    Options options;
    CLI::App app("Runs ringloop's server on a simulated kernel and disk, and checks each answer.");
    app.add_option("--seed", options.seed, "of the first run (default: from the clock)");
    app.add_option("--runs", options.runs, "so many runs, each from the next seed");
    app.add_option("--minutes", options.minutes, "as many runs as fit")
        ->check(CLI::NonNegativeNumber);
    app.add_option("--simulated-hours", options.simulated_hours,
                   "as many runs as make so many hours of virtual time")
        ->check(CLI::NonNegativeNumber);
    app.add_option("--set", options.settings, "NAME=NUMBER: a field of the run, not drawn")
        ->expected(1)
        ->multi_option_policy(CLI::MultiOptionPolicy::TakeAll);
    app.add_flag("--replay", options.replay, "one run; tells its last events when it fails");
    app.add_flag("--plain", options.plain, "fields that are not set are not drawn, but the usual");
    app.add_flag("!--no-shrink", options.shrink, "tell a failure as it was found");
    app.add_option("--shrink-seconds", options.shrink_s, "to look for a shorter one (60)");
    app.add_option("--story", options.story, "events to look through for the story (20000)");
    CLI11_PARSE(app, argc, argv);
    log::to_stderr(log::Level::error);
    const u64 seed = options.seed.value_or(seed_from_clock());
    return options.replay ? replay(options, seed) : run_all(options, seed);
}

}  // namespace
}  // namespace ringloop::sim

int main(int argc, char** argv) { return ringloop::sim::run(argc, argv); }
