#include "sim/config.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

#include "engine/policy.h"

namespace ringloop::sim {
namespace {

constexpr ConfigField number(const char* name, u64 Config::* member) {
    return {name, member, nullptr};
}
constexpr ConfigField chance(const char* name, u32 Faults::* member) {
    return {name, nullptr, member};
}

constexpr ConfigField fields[] = {
    number("device_bytes", &Config::device_bytes),
    number("offset_pages", &Config::offset_pages),
    number("shards", &Config::shards),
    number("policy", &Config::policy),
    number("workers", &Config::workers),
    number("direct", &Config::direct),
    number("block_device", &Config::block_device),
    number("sparse", &Config::sparse),
    number("on_error", &Config::on_error),
    number("tenants", &Config::tenants),
    number("ports", &Config::ports),
    number("depth", &Config::depth),
    number("connections", &Config::connections),
    number("jobs", &Config::jobs),
    number("job_bytes_max", &Config::job_bytes_max),
    number("pause_ns_max", &Config::pause_ns_max),
    number("hot_sectors", &Config::hot_sectors),
    number("reads", &Config::reads),
    number("flushes", &Config::flushes),
    number("zeroes", &Config::zeroes),
    number("discards", &Config::discards),
    number("fua", &Config::fua),
    number("lives", &Config::lives),
    number("kills", &Config::kills),
    number("power_cuts", &Config::power_cuts),
    number("changes", &Config::changes),
    number("resizes", &Config::resizes),
    number("truncations", &Config::truncations),
    number("free_pages", &Config::free_pages),
    number("full", &Config::full),
    number("sets", &Config::sets),
    number("latency_us_max", &Config::latency_us_max),
    number("without", &Config::without),
    number("misdirect", &Config::misdirect),
    chance("short_transfer", &Faults::short_transfer),
    chance("interrupted", &Faults::interrupted),
    chance("again_nowait", &Faults::again_nowait),
    chance("again_late", &Faults::again_late),
    chance("io_error", &Faults::io_error),
    chance("no_memory", &Faults::no_memory),
    chance("sync_error", &Faults::sync_error),
    chance("writeback_error", &Faults::writeback_error),
    chance("zero_unsupported", &Faults::zero_unsupported),
    chance("nowait_unsupported", &Faults::nowait_unsupported),
    chance("direct_refused", &Faults::direct_refused),
    chance("slow", &Faults::slow),
    chance("queue_full", &Faults::queue_full),
    chance("connection_leaves", &Faults::connection_leaves),
    chance("lanes_refused", &Faults::lanes_refused),
    chance("lanes_killed", &Faults::lanes_killed),
};

// Most runs have few faults, each of its own kind, so that one does not hide what another shows.
void draw_faults(Config& config, Prng& prng) {
    const auto maybe = [&](u32& rate, u32 most) {
        rate = prng.below(3) == 0 ? static_cast<u32>(prng.skewed(100, most)) : 0;
    };
    Faults& faults = config.faults;
    maybe(faults.short_transfer, 200'000);
    maybe(faults.interrupted, 100'000);
    maybe(faults.again_nowait, 900'000);
    maybe(faults.again_late, 50'000);
    maybe(faults.io_error, 50'000);
    maybe(faults.no_memory, 20'000);
    maybe(faults.sync_error, 50'000);
    maybe(faults.writeback_error, 5'000);
    maybe(faults.zero_unsupported, 100'000);
    maybe(faults.nowait_unsupported, 10'000);
    maybe(faults.direct_refused, 5'000);
    maybe(faults.slow, 20'000);
    maybe(faults.queue_full, 200'000);
}

void draw_server(Config& config, Prng& prng) {
    config.device_bytes = align_up(prng.skewed(16 * kib, 1 * mib), sector_bytes);
    config.offset_pages = prng.below(2) * prng.below(9);
    config.shards = prng.between(1, 3);
    config.policy = prng.below(2) == 0 ? 0 : prng.below(engine::policies().size());
    config.workers = prng.skewed(config.shards, 16);
    config.direct = prng.below(2);
    config.block_device = prng.below(4) == 0 ? 1 : 0;
    config.sparse = config.block_device ? 0 : prng.below(2);
    config.tenants = prng.below(3) == 0 ? prng.between(1, 4) : 0;
    config.faults.lanes_refused = static_cast<u32>(prng.below(2) * prng.below(200'000));
    config.faults.lanes_killed = static_cast<u32>(prng.below(2) * prng.below(200'000));
    config.latency_us_max = prng.skewed(20, 50'000);
    if (config.sparse && prng.below(3) == 0) {
        config.free_pages = prng.between(1, config.device_bytes / page_bytes);
    }
}

void draw_clients(Config& config, Prng& prng) {
    config.ports = prng.between(1, 7);
    config.depth = prng.skewed(1, 32);
    config.connections = prng.between(1, 3);
    config.faults.connection_leaves = static_cast<u32>(prng.below(2) * prng.below(30'000));
    config.jobs = prng.skewed(200, 6000);
    // NBD takes what is longer than 256 KiB in pieces.
    const u64 longest = prng.below(8) == 0 ? 700 * kib : 64 * kib;
    config.job_bytes_max = align_up(prng.skewed(sector_bytes, longest), sector_bytes);
    config.pause_ns_max = prng.below(2) * prng.skewed(100, 1'000'000);
    config.hot_sectors = prng.below(2) * prng.skewed(8, 256);
    config.reads = prng.below(70);
    config.flushes = prng.below(15);
    config.zeroes = prng.below(10);
    config.discards = prng.below(10);
    config.fua = prng.below(3) * prng.below(30);
}

}  // namespace

std::span<const ConfigField> config_fields() { return fields; }

u64 value_of(const Config& config, const ConfigField& field) {
    return field.number ? config.*field.number : config.faults.*field.chance;
}

void set_value(Config& config, const ConfigField& field, u64 value) {
    if (field.number) {
        config.*field.number = value;
    } else {
        config.faults.*field.chance = static_cast<u32>(value);
    }
}

Config Config::draw(u64 seed) {
    Prng prng(seed ^ 0x636f6e666967);  // another sequence than the run's own
    Config config;
    config.seed = seed;
    draw_server(config, prng);
    draw_clients(config, prng);
    draw_faults(config, prng);
    config.lives = prng.between(1, 5);
    config.kills = prng.below(2) * prng.below(80);
    config.power_cuts = prng.below(2) * prng.below(80);
    config.changes = prng.below(2) * prng.below(20);
    config.resizes = prng.below(3) == 0 ? prng.below(10) : 0;
    config.truncations = prng.below(8) == 0 && !config.block_device ? 500 : 0;
    // A device that has stopped shows little else.
    constexpr u64 choices[] = {0, 0, 0, 0, 1, 2, 2, 2};  // report, stop, pause
    config.on_error = choices[prng.below(std::size(choices))];
    config.full = config.sparse ? prng.below(2) * prng.below(20) : 0;
    config.sets = prng.below(3) == 0 ? prng.below(10) : 0;
    return config;
}

std::string Config::text() const {
    const Config defaults;
    std::string text;
    for (const ConfigField& field : fields) {
        const u64 value = value_of(*this, field);
        if (value == value_of(defaults, field)) continue;
        text += fmt::format("{}{}={}", text.empty() ? "" : " ", field.name, value);
    }
    return text;
}

Status Config::set(std::string_view name, u64 value) {
    const auto field = std::ranges::find(fields, name, &ConfigField::name);
    if (field == std::end(fields)) return fail(EINVAL, "{}: no such field of a run", name);
    set_value(*this, *field, value);
    return {};
}

}  // namespace ringloop::sim
