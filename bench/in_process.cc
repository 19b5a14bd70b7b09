// A load for the engine without a device: the threads, rings and shards are those of a server, the
// client is one more transport, which keeps `depth` requests of each job in flight. It measures
// what ringloop adds to the image itself; in_process.py compares that with fio.
//
// Prints one JSON object. Exit status 1 when anything failed, a single request included.
#include <fmt/format.h>
#include <sys/resource.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <atomic>
#include <chrono>
#include <cstdlib>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "base/size.h"
#include "control/shard_threads.h"

namespace ringloop {
namespace {

using engine::Op;
using engine::ShardStats;
using Json = nlohmann::ordered_json;

constexpr u64 buffer_alignment = 4096;

struct Options {
    std::string image;
    std::string policy{engine::default_policy().name};
    std::string op = "randread";
    std::string direct_io = "auto";
    std::string block = "4k";
    u32 workers = 0;  // 0: the policy's
    u32 depth = 64;   // of each job
    u32 jobs = 1;
    u32 shards = 0;  // 0: one for each job; policies with one queue have one
    double seconds = 4;
    u64 seed = 1;
    bool plain_buffers = false;

    // Of the texts above, once they were read.
    u64 block_bytes = 0;
    u64 duration_ns = 0;
    bool random = false;
    bool reads = false;
    bool writes = false;
};

// One job: where its next request goes. Sequential ones walk through the whole image, reads and
// writes each at their own pace, as fio's do; with both, they alternate.
class Job {
public:
    Job(const Options& options, u64 blocks, u64 seed)
        : options_(options), blocks_(blocks), random_state_(seed) {}

    void aim(engine::Request& request) {
        write_next_ = options_.writes && (!options_.reads || !write_next_);
        request.op = write_next_ ? Op::write : Op::read;
        u64& next = next_[write_next_];
        const u64 block = (options_.random ? random() : next++) % blocks_;
        request.range = {block * options_.block_bytes, options_.block_bytes};
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

    const Options& options_;
    u64 blocks_;
    u64 random_state_;
    u64 next_[2] = {};  // blocks read, blocks written
    bool write_next_ = false;
};

// The jobs of one shard and their requests; posted to begin.
class Client : public engine::Message {
public:
    Client(const Options& options, engine::Shard& shard, std::atomic<u32>& running)
        : options_(options), shard_(shard), running_(running) {
        run = [](Message& message, engine::Shard&) { static_cast<Client&>(message).begin(); };
    }

    void add_job(u64 seed) {
        const u64 blocks = shard_.device().size_now() / options_.block_bytes;
        jobs_.emplace_back(options_, blocks, seed);
    }
    // After the last job: requests point to them.
    Status make_slots();
    void post() { shard_.post(*this); }

private:
    struct Slot : engine::Request {
        Client* client = nullptr;
        Job* job = nullptr;
    };

    void begin() {
        begun_ns_ = shard_.kernel().now_ns();
        in_flight_ = slots_.size();
        for (Slot& slot : slots_) request_start(slot);
    }
    void request_start(Slot& slot) {
        slot.job->aim(slot);
        shard_.submit(slot);
    }
    static void request_on_engine(engine::Request& request) {
        auto& slot = static_cast<Slot&>(request);
        slot.client->request_end(slot);
    }
    // A slot that saw an error rests, so that a broken image ends the run instead of spinning.
    void request_end(Slot& slot) {
        const bool in_time = shard_.kernel().now_ns() - begun_ns_ < options_.duration_ns;
        if (slot.result == Errno::ok && in_time) {
            request_start(slot);
        } else if (--in_flight_ == 0) {
            running_.fetch_sub(1);
            running_.notify_one();
        }
    }

    const Options& options_;
    engine::Shard& shard_;
    std::atomic<u32>& running_;
    std::vector<Job> jobs_;
    std::vector<Slot> slots_;
    std::unique_ptr<std::byte, decltype(&std::free)> buffers_{nullptr, std::free};
    u64 in_flight_ = 0;
    u64 begun_ns_ = 0;
};

Status Client::make_slots() {
    slots_ = std::vector<Slot>(jobs_.size() * options_.depth);
    shard_.reserve(static_cast<u32>(slots_.size()));
    const u64 stride = align_up(options_.block_bytes, buffer_alignment);
    const u64 length = stride * slots_.size();
    buffers_.reset(static_cast<std::byte*>(std::aligned_alloc(buffer_alignment, length)));
    if (!buffers_) return fail(ENOMEM, "no memory for {} of buffers", format_size(length));
    // No zeroes: somebody below might compress them, or not write them at all.
    for (u64 i = 0; i < length; ++i) buffers_.get()[i] = static_cast<std::byte>((i * 131) >> 3);

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

// To the threads of the shards a transport like the others, only that no device comes of it.
class InProcess final : public control::Transport {
public:
    explicit InProcess(const Options& options) : options_(options), clients_(options.shards) {}

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
        return clients_[index]->make_slots();
    }
    void leave(u32) override {}

    // Runs the load, to its end.
    Status bring_up() override {
        running_ = options_.shards;
        for (const auto& client : clients_) client->post();
        for (u32 left = running_; left > 0; left = running_) running_.wait(left);
        return {};
    }
    Status stop() override { return {}; }
    Status remove() override { return {}; }

private:
    const Options& options_;
    std::vector<std::unique_ptr<Client>> clients_;
    std::atomic<u32> running_ = 0;
};

// What the process spent, all its threads and the kernel's workers for its rings included.
struct Spent {
    double ns = 0;
    double cpu_us = 0;
    double switches = 0;
};

Spent spent_so_far() {
    rusage usage{};
    ::getrusage(RUSAGE_SELF, &usage);
    const auto us = [](const timeval& time) {
        return static_cast<double>(time.tv_sec) * 1e6 + static_cast<double>(time.tv_usec);
    };
    const std::chrono::nanoseconds now = std::chrono::steady_clock::now().time_since_epoch();
    return {static_cast<double>(now.count()), us(usage.ru_utime) + us(usage.ru_stime),
            static_cast<double>(usage.ru_nvcsw + usage.ru_nivcsw)};
}

Json counters_of(const std::vector<const ShardStats*>& shards) {
    constexpr std::pair<const char*, Counter ShardStats::*> counters[] = {
        {"started", &ShardStats::started},
        {"finished", &ShardStats::finished},
        {"merged", &ShardStats::merged},
        {"operations", &ShardStats::operations},
        {"passes", &ShardStats::passes},
        {"syscalls", &ShardStats::syscalls},
        {"nowait_attempts", &ShardStats::nowait_attempts},
        {"nowait_eagain", &ShardStats::nowait_eagain},
        {"nowait_unsupported", &ShardStats::nowait_unsupported},
        {"hint_skips", &ShardStats::hint_skips},
        {"lane_requests", &ShardStats::lane_requests},
        {"serial_overflow", &ShardStats::serial_overflow},
        {"workers_max_seen", &ShardStats::workers_max_seen},
    };
    Json sums;
    for (const auto& [name, counter] : counters) {
        u64 sum = 0;
        for (const ShardStats* shard : shards) sum += (shard->*counter).get();
        sums[name] = sum;
    }
    return sums;
}

Json report(const Spent& before, const Spent& after, const std::vector<const ShardStats*>& shards) {
    HistogramView latency;
    u64 errors = 0;
    for (const ShardStats* shard : shards) {
        for (const engine::OpStats& op : shard->ops) {
            op.latency_ns.add_to(latency);
            errors += op.errors.get();
        }
    }
    const auto quantile_us = [&latency](double fraction) {
        return static_cast<double>(latency.quantile(fraction)) / 1000;
    };
    const Json counters = counters_of(shards);
    const auto ios = static_cast<double>(latency.total());
    return {{"seconds", (after.ns - before.ns) / 1e9},
            {"ios", latency.total()},
            {"errors", errors},
            {"iops", ios / (after.ns - before.ns) * 1e9},
            {"p50_us", quantile_us(0.5)},
            {"p99_us", quantile_us(0.99)},
            {"p999_us", quantile_us(0.999)},
            {"cpu_us_per_io", (after.cpu_us - before.cpu_us) / ios},
            {"ctxt_per_io", (after.switches - before.switches) / ios},
            {"syscalls_per_io", counters["syscalls"].get<double>() / ios},
            {"counters", counters}};
}

Result<Json> run_on(const backing::Backing& backing, const engine::Policy& policy,
                    const Options& options) {
    engine::Device device(backing);
    device.dispatch_by({.policy = &policy,
                        .workers = options.workers ? options.workers : policy.workers,
                        .shards = options.shards});
    control::Transports transports;
    transports.add(std::make_unique<InProcess>(options));
    control::ShardThreads threads;
    Status status = threads.start(transports, device);
    Json found;
    if (status) {
        const Spent before = spent_so_far();
        status = transports.bring_up();
        found = report(before, spent_so_far(), threads.stats());
        found["shards"] = options.shards;
        found["direct"] = backing.direct_now();
        found["direct_reason"] = backing.geometry().direct_reason;
    }
    if (!threads.stop()) std::_Exit(1);  // a thread still uses what would be destroyed
    if (!status) return std::unexpected(status.error());
    return found;
}

Result<Json> run(Options& options) {
    const auto policy = engine::find_policy(options.policy);
    if (!policy) return std::unexpected(policy.error());
    const auto direct_io = control::parse_direct_io(options.direct_io);
    if (!direct_io) return std::unexpected(direct_io.error());
    const auto block_bytes = parse_size(options.block, "--block");
    if (!block_bytes) return std::unexpected(block_bytes.error());
    options.random = options.op.starts_with("rand");
    options.reads = !options.op.ends_with("write");
    options.writes = !options.op.ends_with("read");
    options.duration_ns = static_cast<u64>(options.seconds * 1e9);
    const auto backing = backing::Backing::open(
        {.path = options.image, .read_only = !options.writes, .direct_io = *direct_io});
    if (!backing) return std::unexpected(backing.error());
    const backing::Geometry& geometry = (*backing)->geometry();
    if (*block_bytes == 0 || *block_bytes > geometry.size ||
        !is_aligned(*block_bytes, geometry.request_alignment)) {
        return fail(EINVAL, "--block {}: use a multiple of {}, at most the {} of the image",
                    options.block, geometry.request_alignment, format_size(geometry.size));
    }
    options.block_bytes = *block_bytes;
    if (options.shards == 0) options.shards = (*policy)->one_queue ? 1 : options.jobs;
    options.shards = std::min(options.shards, options.jobs);
    return run_on(**backing, **policy, options);
}

}  // namespace
}  // namespace ringloop

int main(int count, char** arguments) {
    ringloop::Options options;
    CLI::App app("Drives the engine on an image, without a device; prints JSON.");
    app.option_defaults()->always_capture_default();
    app.add_option("IMAGE", options.image, "file or block device; ops that write overwrite it")
        ->required();
    app.add_option("--op", options.op)
        ->check(CLI::IsMember({"read", "write", "rw", "randread", "randwrite", "randrw"}));
    app.add_option("--policy", options.policy, "of the dispatcher");
    app.add_option("--workers", options.workers, "of the device; 0: the policy's")
        ->check(CLI::Range(0U, ringloop::engine::workers_max));
    app.add_option("--block", options.block, "size of each request");
    app.add_option("--depth", options.depth, "requests in flight of each job")
        ->check(CLI::Range(1, 4096));
    app.add_option("--jobs", options.jobs, "streams of requests")->check(CLI::Range(1, 64));
    app.add_option("--shards", options.shards, "threads; 0: one for each job, as the policy allows")
        ->check(CLI::Range(0, 64));
    app.add_option("--seconds", options.seconds)->check(CLI::Range(0.01, 86400.0));
    app.add_option("--seed", options.seed, "of the random ops");
    app.add_option("--direct-io", options.direct_io, "auto, on or off");
    app.add_flag("--plain-buffers", options.plain_buffers, "do not register the buffers");
    app.add_flag_callback(
        "--list-policies",
        [] {
            for (const auto& policy : ringloop::engine::policies()) fmt::print("{}\n", policy.name);
            throw CLI::Success();
        },
        "print their names, the default first");
    CLI11_PARSE(app, count, arguments);
    const auto found = ringloop::run(options);
    if (!found) {
        fmt::print(stderr, "in_process_bench: {}\n", found.error().message);
        return 1;
    }
    fmt::print("{}\n", found->dump(1));
    return (*found)["errors"] == 0 ? 0 : 1;
}
