// A server for the tests of ports: real shards on simulated kernels, clients that send at random,
// and the oracle that knows what they may read. One life after the other.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <vector>

#include "base/log.h"
#include "sim/life.h"
#include "sim/oracle.h"
#include "sim/port.h"

namespace ringloop::sim {

class TestServer final : public Audience {
public:
    static constexpr u64 image_bytes = 4 * mib;
    struct Options {
        u64 seed = 1;
        u32 shards = 2;
        bool faults = false;
        u64 job_bytes_max = 128 * kib;
        std::vector<u64> cgroups = {0};  // that issue jobs
        bool prefetch = false;
        bool fast_zero = false;
    };

    explicit TestServer(const Options& options) : options_(options) {
        if (options.faults) faults_on();
        log::to_stderr(log::Level::error);
    }

    Machine& machine() { return machine_; }
    Server& server() { return life_->server(); }
    Oracle& oracle() { return oracle_; }
    Kernel& kernel(u32 seat) { return *life_->server().seats[seat].kernel; }

    // A new life of the server; its loops are turned after begin().
    void boot() {
        life_ = std::make_unique<Life>(
            config_, machine_, Life::Inherited{.device_bytes = image_bytes, .poisoned = poisoned_});
        life_->turned = turned;
        killed_ = false;
    }
    void begin() { life_->begin(); }
    void kill() {
        killed_ = true;
        poisoned_ = life_->poisoned();
        life_->kill();
    }
    // The port and others have ended; `clear` takes what they have in the server.
    void shut_down(const std::function<void()>& clear) {
        life_->stop();
        ASSERT_TRUE(run_until([&] { return life_->stopped(); })) << "the shards did not end";
        EXPECT_EQ(killed_ ? "" : life_->leftovers(), "");
        if (!killed_) poisoned_ = life_->poisoned();
        clear();
        life_.reset();
    }

    // Sends `count` more jobs through the port, and until that has happened as many as it takes.
    void send(Port& port, u64 count) {
        port_ = &port;
        to_send_ += count;
        pump();
    }
    bool idle() const { return outstanding_.empty() && to_send_ == 0; }
    // False: it does not happen within a number of steps that is far too large.
    template <typename Predicate>
    bool run_until(Predicate happened) {
        for (u64 step = 0; step < 3'000'000; ++step) {
            if (happened()) return true;
            if (!machine_.timeline.step()) return happened();
        }
        return false;
    }
    u64 outstanding() const { return outstanding_.size(); }

    void answered(Job& job, i32 error) override {
        oracle_.answered(job, error);
        ++answers;
        if (error != 0) {
            ++errors;
            errors_seen[static_cast<u32>(error) % errors_seen.size()]++;
        }
        done(job);
    }
    void lost(Job& job) override {
        oracle_.lost(job);
        ++losses;
        done(job);
    }

    // Life::turned of every life that begins.
    std::function<bool(u32)> turned;
    u64 answers = 0;
    u64 errors = 0;
    u64 losses = 0;
    bool sending = true;
    std::array<u64, 256> errors_seen{};

private:
    void faults_on() {
        machine_.faults = {.short_transfer = 50'000,
                           .interrupted = 20'000,
                           .again_nowait = 100'000,
                           .again_late = 20'000,
                           .io_error = 5'000,
                           .no_memory = 5'000,
                           .slow = 5'000,
                           .queue_full = 50'000};
    }
    void pump();
    void make(Job& job);
    void done(Job& job) {
        std::erase_if(outstanding_, [&](const auto& it) { return it.get() == &job; });
        if (sending) pump();
    }

    const Options options_;
    Timeline timeline_;
    Prng prng_{options_.seed};
    Trace trace_{64};
    Disk disk_{{.image_bytes = image_bytes, .device = {0, image_bytes}}, prng_, trace_, timeline_};
    Machine machine_{.timeline = timeline_,
                     .prng = prng_,
                     .trace = trace_,
                     .disk = disk_,
                     .faults = {},
                     .refusals = {}};
    Oracle oracle_{disk_, {0, image_bytes}, prng_, trace_, timeline_};
    const Config config_{.device_bytes = image_bytes, .shards = options_.shards, .depth = 128};
    std::unique_ptr<Life> life_;
    bool killed_ = false;
    bool poisoned_ = false;  // what the last life has left in its state
    Port* port_ = nullptr;
    u64 to_send_ = 0;
    u64 jobs_ = 0;
    std::vector<std::unique_ptr<Job>> outstanding_;
};

inline void TestServer::make(Job& job) {
    using engine::Op;
    constexpr Op ops[] = {Op::read,  Op::read,  Op::read,    Op::write,        Op::write,
                          Op::write, Op::flush, Op::discard, Op::write_zeroes, Op::prefetch};
    job.number = ++jobs_;
    job.op = ops[prng_.below(options_.prefetch ? 10 : 9)];
    const bool changes = job.op != Op::read && job.op != Op::flush && job.op != Op::prefetch;
    job.fua = changes && prng_.below(8) == 0;
    job.no_unmap = job.op == Op::write_zeroes && prng_.below(2) == 0;
    job.fast_zero = options_.fast_zero && job.op == Op::write_zeroes && prng_.below(4) == 0;
    job.cgroup = options_.cgroups[prng_.below(options_.cgroups.size())];
    if (job.op == Op::flush) return;
    const u64 length = align_up(prng_.skewed(1, options_.job_bytes_max), sector_bytes);
    job.range = {prng_.below((image_bytes - length) / sector_bytes + 1) * sector_bytes, length};
}

inline void TestServer::pump() {
    while (to_send_ > 0 && outstanding_.size() < port_->depth()) {
        --to_send_;
        outstanding_.push_back(std::make_unique<Job>());
        Job& job = *outstanding_.back();
        make(job);
        oracle_.sent(job);
        port_->send(job);
    }
}

}  // namespace ringloop::sim
