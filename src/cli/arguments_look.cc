#include <CLI/CLI.hpp>

#include "cli/parsed.h"

namespace ringloop::cli {
namespace {

constexpr const char* target_text = "device, name, image or URI";
constexpr double interval_min_s = 0.1;
constexpr double interval_max_s = 3600;

Status check_interval(double interval_s) {
    if (interval_s >= interval_min_s && interval_s <= interval_max_s) return {};
    return fail(EINVAL, "--interval {}: use {} to {} seconds", interval_s, interval_min_s,
                interval_max_s);
}

}  // namespace

void add_look_verbs(CLI::App& app, Parsed& parsed) {
    auto& stats = *app.add_subcommand("stats", "what a device does: its rates and latencies");
    stats.add_option("TARGET", parsed.stats.target, target_text)->required();
    stats.add_flag("-w,--watch", parsed.stats.watch, "again and again, until ^C");
    stats.add_option("-i,--interval", parsed.stats.interval_s, "seconds that it looks at [1]");
    stats.add_flag("--json", parsed.stats.json, "print an object; with --watch, each on a line");

    auto& metrics = *app.add_subcommand("metrics", "counters as text for Prometheus");
    metrics.add_option("TARGET", parsed.metrics.target, target_text);
    metrics.add_flag("-a,--all", parsed.metrics.all, "of every device");

    auto& log = *app.add_subcommand("log", "what became of a device, or of all");
    log.add_option("TARGET", parsed.log.target, std::string(target_text) + " [all]");
    log.add_flag("-f,--follow", parsed.log.follow, "and what becomes of it, until ^C");
    log.add_flag("--json", parsed.log.json, "print objects, each on a line");

    auto& top = *app.add_subcommand("top", "all devices and what they do, on the terminal");
    top.add_option("-i,--interval", parsed.top.interval_s, "seconds between two looks [1]");
    top.add_flag("-1,--once", parsed.top.once, "one look, as a plain table");

    auto& verify = *app.add_subcommand("verify", "read all of an image: is everything there?");
    verify.add_option("TARGET", parsed.verify.target, "image, or a device: its part of one")
        ->required();
    verify.add_option("--against", parsed.verify.against, "another one: is it the same?");
    verify.add_flag("--json", parsed.verify.json, "print an object");
}

void add_metrics_option(CLI::App& verb, DeviceTexts& texts) {
    // A function: the parser takes an empty word for no value.
    verb.add_option_function<std::string>(
        "--metrics", [&texts](const std::string& address) { texts.metrics = address; },
        "serve metrics over HTTP: PORT, 127.0.0.1:PORT, [::1]:PORT [off]");
}

Result<std::optional<Command>> look_command_of(const std::string& verb, const Parsed& parsed) {
    if (verb == "stats") {
        TRY(check_interval(parsed.stats.interval_s));
        return parsed.stats;
    }
    if (verb == "metrics") {
        if (parsed.metrics.target.empty() != parsed.metrics.all) {
            return fail(EINVAL, "name a device, or give --all");
        }
        return parsed.metrics;
    }
    if (verb == "log") return parsed.log;
    if (verb == "verify") return parsed.verify;
    if (verb == "top") {
        TRY(check_interval(parsed.top.interval_s));
        return parsed.top;
    }
    return std::nullopt;
}

}  // namespace ringloop::cli
