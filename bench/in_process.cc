// A load for the engine without any transport: the threads, rings and shards are those of a server,
// the client is a frontend in the same process that keeps `depth` requests of each job in flight.
// What it measures is what ringloop adds to the image itself; in_process.py compares it with fio.
//
// Prints one JSON object. Exit status 1 when anything failed, a single request included.
#include <fmt/format.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <array>
#include <atomic>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <string_view>
#include <vector>

#include "base/size.h"
#include "control/shard_threads.h"

namespace ringloop {
namespace {

using engine::Op;

constexpr u64 buffer_alignment = 4096;
constexpr u64 ns_per_s = 1'000'000'000;

struct Load {
    std::string_view name;
    bool reads = false;
    bool writes = false;
    bool random = false;
};
constexpr std::array loads = {
    Load{.name = "read", .reads = true},
    Load{.name = "write", .writes = true},
    Load{.name = "rw", .reads = true, .writes = true},
    Load{.name = "randread", .reads = true, .random = true},
    Load{.name = "randwrite", .writes = true, .random = true},
    Load{.name = "randrw", .reads = true, .writes = true, .random = true},
};

struct Options {
    std::string image;
    std::string policy{engine::default_policy().name};
    std::string op{loads.front().name};
    std::string direct_io = "auto";
    std::string block = "4k";
    u32 workers = 0;  // 0: the policy's
    u32 depth = 64;   // of each job
    u32 jobs = 1;
    u32 shards = 0;  // 0: one for each job; policies with one queue have one
    double seconds = 4;
    u64 seed = 1;
    bool plain_buffers = false;

    // Known once the texts above are checked.
    const engine::Policy* row = nullptr;
    Load load;
    u64 block_bytes = 0;
};

// One job: where its next request goes. Sequential ones walk through the whole image, reads and
// writes each at their own pace, as fio's do.
class Job {
public:
    Job(const Load& load, u64 blocks, u64 seed)
        : load_(load), blocks_(blocks), random_state_(seed) {}

    Op next_op() {
        if (load_.reads != load_.writes) return load_.reads ? Op::read : Op::write;
        write_next_ = !write_next_;
        return write_next_ ? Op::read : Op::write;
    }

    u64 next_block(Op op) {
        if (load_.random) return random() % blocks_;
        u64& position = op == Op::read ? read_position_ : write_position_;
        const u64 block = position;
        position = block + 1 == blocks_ ? 0 : block + 1;
        return block;
    }

private:
    // SplitMix64 (Steele, Lea and Flood, 2014): a few instructions, and any seed is a good one.
    u64 random() {
        random_state_ += 0x9e3779b97f4a7c15;
        u64 mixed = random_state_;
        mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
        mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
        return mixed ^ (mixed >> 31);
    }

    Load load_;
    u64 blocks_;
    u64 random_state_;
    u64 read_position_ = 0;
    u64 write_position_ = 0;
    bool write_next_ = false;
};

// The jobs of one shard and their requests. Everything happens on the shard's thread, except that
// the control thread posts it to begin and reads the figures once it has ended.
class Client : public engine::Message {
public:
    Client(const Options& options, engine::Shard& shard, std::atomic<u32>& running)
        : options_(options), shard_(shard), running_(running) {
        run = [](Message& message, engine::Shard&) { static_cast<Client&>(message).begin(); };
    }

    void add_job(u64 seed) {
        const u64 blocks = shard_.device().size_now() / options_.block_bytes;
        jobs_.emplace_back(options_.load, blocks, seed);
    }

    // Behind the last job: requests point to them.
    Status make_slots();

    u64 ios() const { return ios_; }
    u64 errors() const { return errors_; }
    u64 elapsed_ns() const { return ended_ns_ - begun_ns_; }
    u64 syscalls() const { return syscalls_; }

private:
    struct Slot : engine::Request {
        Client* client = nullptr;
        Job* job = nullptr;
    };
    struct Free {
        void operator()(std::byte* memory) const { std::free(memory); }
    };

    void begin();
    void request_start(Slot& slot);
    static void request_on_engine(engine::Request& request);

    const Options& options_;
    engine::Shard& shard_;
    std::atomic<u32>& running_;
    std::vector<Job> jobs_;
    std::vector<Slot> slots_;
    std::unique_ptr<std::byte, Free> buffers_;
    u64 in_flight_ = 0;
    u64 begun_ns_ = 0;
    u64 ended_ns_ = 0;
    u64 syscalls_ = 0;
    u64 ios_ = 0;
    u64 errors_ = 0;
};

Status Client::make_slots() {
    slots_ = std::vector<Slot>(jobs_.size() * options_.depth);
    shard_.reserve(static_cast<u32>(slots_.size()));
    const u64 stride = align_up(options_.block_bytes, buffer_alignment);
    const u64 length = stride * slots_.size();
    buffers_.reset(static_cast<std::byte*>(std::aligned_alloc(buffer_alignment, length)));
    if (!buffers_) return fail(ENOMEM, "no memory for {} of buffers", format_size(length));
    // No zeroes: somebody below might compress them, or not write them at all.
    for (u64 i = 0; i < length; ++i) buffers_.get()[i] = static_cast<std::byte>(i * 131 >> 3);

    std::vector<iovec> vectors;
    for (std::size_t i = 0; i < slots_.size(); ++i) {
        Slot& slot = slots_[i];
        slot.client = this;
        slot.job = &jobs_[i % jobs_.size()];
        slot.buffer = buffers_.get() + i * stride;
        slot.fixed_buffer = options_.plain_buffers ? -1 : static_cast<i32>(i);
        slot.done = request_on_engine;
        vectors.push_back({slot.buffer, options_.block_bytes});
    }
    if (options_.plain_buffers) return {};
    return shard_.kernel().register_buffers(vectors);
}

void Client::begin() {
    begun_ns_ = shard_.kernel().now_ns();
    syscalls_ = shard_.kernel().syscalls();
    in_flight_ = slots_.size();
    for (Slot& slot : slots_) request_start(slot);
}

void Client::request_start(Slot& slot) {
    slot.op = slot.job->next_op();
    slot.range = {slot.job->next_block(slot.op) * options_.block_bytes, options_.block_bytes};
    shard_.submit(slot);
}

// A slot that saw an error rests, so a broken image ends the run early instead of spinning.
void Client::request_on_engine(engine::Request& request) {
    auto& slot = static_cast<Slot&>(request);
    Client& client = *slot.client;
    const u64 now_ns = client.shard_.kernel().now_ns();
    const bool failed = request.result != Errno::ok;
    ++(failed ? client.errors_ : client.ios_);
    const auto limit_ns = static_cast<u64>(client.options_.seconds * double{ns_per_s});
    if (!failed && now_ns - client.begun_ns_ < limit_ns) {
        client.request_start(slot);
        return;
    }
    if (--client.in_flight_ > 0) return;
    client.ended_ns_ = now_ns;
    client.syscalls_ = client.shard_.kernel().syscalls() - client.syscalls_;
    client.running_.fetch_sub(1, std::memory_order_release);
    client.running_.notify_one();
}

// The frontend: to the threads of the shards it is a transport like the others, without a device.
class InProcess final : public control::Transport {
public:
    explicit InProcess(const Options& options)
        : options_(options), clients_(options.shards), shards_(options.shards) {}

    control::TransportChoice kind() const override { return control::TransportChoice::socket; }
    std::string device_path() const override { return {}; }
    u32 queues() const override { return options_.shards; }
    u32 depth() const override {
        return options_.depth * ((options_.jobs + options_.shards - 1) / options_.shards);
    }

    Status join(u32 index, engine::Shard& shard) override {
        clients_[index] = std::make_unique<Client>(options_, shard, running_);
        for (u32 job = index; job < options_.jobs; job += options_.shards) {
            clients_[index]->add_job(options_.seed + job);
        }
        shards_[index] = &shard;
        return clients_[index]->make_slots();
    }
    void leave(u32) override {}

    // Runs the load, to its end.
    Status bring_up() override {
        running_ = options_.shards;
        for (u32 index = 0; index < options_.shards; ++index) {
            shards_[index]->post(*clients_[index]);
        }
        for (u32 left = running_; left > 0; left = running_) running_.wait(left);
        return {};
    }
    Status stop() override { return {}; }
    Status remove() override { return {}; }

    const std::vector<std::unique_ptr<Client>>& clients() const { return clients_; }

private:
    const Options& options_;
    std::vector<std::unique_ptr<Client>> clients_;
    std::vector<engine::Shard*> shards_;
    std::atomic<u32> running_ = 0;
};

// What the process spent, all its threads and the kernel's workers for its rings included.
struct Spent {
    double cpu_us = 0;
    double switches = 0;
};

Spent spent_so_far() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto us = [](const timeval& time) {
        return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_usec);
    };
    return {us(usage.ru_utime) + us(usage.ru_stime),
            static_cast<double>(usage.ru_nvcsw + usage.ru_nivcsw)};
}

nlohmann::ordered_json counters_of(const std::vector<const engine::ShardStats*>& shards) {
    using Stats = engine::ShardStats;
    constexpr std::pair<const char*, Counter Stats::*> counters[] = {
        {"started", &Stats::started},
        {"finished", &Stats::finished},
        {"merged", &Stats::merged},
        {"operations", &Stats::operations},
        {"passes", &Stats::passes},
        {"syscalls", &Stats::syscalls},
        {"nowait_attempts", &Stats::nowait_attempts},
        {"nowait_eagain", &Stats::nowait_eagain},
        {"nowait_unsupported", &Stats::nowait_unsupported},
        {"hint_skips", &Stats::hint_skips},
        {"lane_requests", &Stats::lane_requests},
        {"serial_overflow", &Stats::serial_overflow},
        {"workers_max_seen", &Stats::workers_max_seen},
    };
    nlohmann::ordered_json sums;
    for (const auto& [name, counter] : counters) {
        u64 sum = 0;
        for (const Stats* shard : shards) sum += (shard->*counter).get();
        sums[name] = sum;
    }
    return sums;
}

nlohmann::ordered_json report(const Options& options, const InProcess& load, const Spent& before,
                              const Spent& after,
                              const std::vector<const engine::ShardStats*>& shards) {
    u64 ios = 0, errors = 0, syscalls = 0, elapsed_ns = 0;
    for (const auto& client : load.clients()) {
        ios += client->ios();
        errors += client->errors();
        syscalls += client->syscalls();
        elapsed_ns = std::max(elapsed_ns, client->elapsed_ns());
    }
    HistogramView latency;
    for (const engine::ShardStats* shard : shards) {
        for (const engine::OpStats& op : shard->ops) op.latency_ns.add_to(latency);
    }
    const auto quantile_us = [&latency](double fraction) {
        return static_cast<double>(latency.quantile(fraction)) / 1000;
    };
    const double seconds = static_cast<double>(std::max<u64>(elapsed_ns, 1)) / double{ns_per_s};
    const auto divisor = static_cast<double>(std::max<u64>(ios, 1));
    return {{"policy", options.policy},
            {"op", options.op},
            {"shards", options.shards},
            {"seconds", seconds},
            {"ios", ios},
            {"errors", errors},
            {"iops", static_cast<double>(ios) / seconds},
            {"p50_us", quantile_us(0.5)},
            {"p99_us", quantile_us(0.99)},
            {"p999_us", quantile_us(0.999)},
            {"cpu_us_per_io", (after.cpu_us - before.cpu_us) / divisor},
            {"ctxt_per_io", (after.switches - before.switches) / divisor},
            {"syscalls_per_io", static_cast<double>(syscalls) / divisor},
            {"counters", counters_of(shards)}};
}

Result<bool> run(const Options& options) {
    const auto direct_io = control::parse_direct_io(options.direct_io);
    if (!direct_io) return std::unexpected(direct_io.error());
    const auto backing = backing::Backing::open(
        {.path = options.image, .read_only = !options.load.writes, .direct_io = *direct_io});
    if (!backing) return std::unexpected(backing.error());
    const backing::Geometry& geometry = (*backing)->geometry();
    if (options.block_bytes == 0 || options.block_bytes > geometry.size ||
        !is_aligned(options.block_bytes, geometry.request_alignment)) {
        return fail(EINVAL, "--block {}: use a multiple of {} up to the size of {}", options.block,
                    geometry.request_alignment, options.image);
    }
    engine::Device device(**backing);
    device.dispatch_by({.policy = options.row,
                        .workers = options.workers ? options.workers : options.row->workers,
                        .shards = options.shards});

    control::Transports transports;
    auto frontend = std::make_unique<InProcess>(options);
    InProcess& load = *frontend;
    transports.add(std::move(frontend));
    control::ShardThreads threads;
    Status status = threads.start(transports, device);
    nlohmann::ordered_json found;
    if (status) {
        const Spent before = spent_so_far();
        status = transports.bring_up();
        found = report(options, load, before, spent_so_far(), threads.stats());
        found["direct"] = (*backing)->direct_now();
        found["direct_reason"] = geometry.direct_reason;
    }
    if (!threads.stop()) std::quick_exit(1);  // its thread still uses what would be destroyed
    if (!status) return std::unexpected(status.error());
    fmt::print("{}\n", found.dump(1));
    return found["errors"] == 0;
}

Status check(Options& options) {
    const auto policy = engine::find_policy(options.policy);
    if (!policy) return std::unexpected(policy.error());
    const auto load = std::ranges::find(loads, options.op, &Load::name);
    if (load == loads.end()) return fail(EINVAL, "no op '{}'; see --help", options.op);
    const auto block = parse_size(options.block, "--block");
    if (!block) return std::unexpected(block.error());
    options.row = *policy;
    options.load = *load;
    options.block_bytes = *block;
    if (options.shards == 0) options.shards = options.row->one_queue ? 1 : options.jobs;
    options.shards = std::min(options.shards, options.jobs);
    return {};
}

Result<bool> run_checked(Options& options) {
    TRY(check(options));
    return run(options);
}

}  // namespace
}  // namespace ringloop

int main(int count, char** arguments) {
    ringloop::Options options;
    CLI::App app("Drives the engine on an image, without a transport; prints JSON.");
    app.add_option("IMAGE", options.image, "file or block device; ops that write overwrite it")
        ->required();
    app.add_option("--policy", options.policy, "of the dispatcher")->capture_default_str();
    app.add_option("--workers", options.workers, "of the device [the policy's]")
        ->check(CLI::Range(1U, ringloop::engine::workers_max));
    app.add_option("--op", options.op, "read, write, rw, randread, randwrite, randrw")
        ->capture_default_str();
    app.add_option("--block", options.block, "bytes of each request")->capture_default_str();
    app.add_option("--depth", options.depth, "requests in flight of each job")
        ->check(CLI::Range(1, 4096))
        ->capture_default_str();
    app.add_option("--jobs", options.jobs, "streams")->check(CLI::Range(1, 64));
    app.add_option("--shards", options.shards, "threads [a job each; one where the policy says so]")
        ->check(CLI::Range(1, 64));
    app.add_option("--seconds", options.seconds, "to run for")
        ->check(CLI::Range(0.01, 86400.0))
        ->capture_default_str();
    app.add_option("--seed", options.seed, "of the random ops")->capture_default_str();
    app.add_option("--direct-io", options.direct_io, "auto, on, off")->capture_default_str();
    app.add_flag("--plain-buffers", options.plain_buffers, "do not register the buffers");
    CLI11_PARSE(app, count, arguments);
    const auto good = ringloop::run_checked(options);
    if (!good) fmt::print(stderr, "in_process_bench: {}\n", good.error().message);
    return good && *good ? 0 : 1;
}
