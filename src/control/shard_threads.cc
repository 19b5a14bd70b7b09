#include "control/shard_threads.h"

#include <sys/prctl.h>

#include <algorithm>
#include <bit>
#include <chrono>

#include "base/assert.h"
#include "control/caught.h"
#include "engine/freeze.h"
#include "engine/image_change.h"
#include "engine/on_each.h"
#include "io/uring.h"

namespace ringloop::control {
namespace {

constexpr u32 ring_entries_min = 64;
constexpr u32 ring_entries_max = 4096;
// A disk that is merely slow is faster.
constexpr u32 freeze_timeout_ms = 10'000;
// A loop ends when what it has in flight was answered by the backing.
constexpr std::chrono::seconds end_timeout{60};

io::Uring::Options ring_options(const Transports& transports, bool restricted) {
    // A pass may hand over a commit and an operation of the backing for each request.
    const u32 entries = std::bit_ceil(transports.depth() * 2);
    return {.entries = std::clamp(entries, ring_entries_min, ring_entries_max),
            .restricted = restricted};
}

}  // namespace

ShardThreads::~ShardThreads() { ASSERT(workers_.empty()); }

Status ShardThreads::start(Transports& transports, engine::Device& device, int held_fd,
                           Lanes* lanes, Sandbox* sandbox) {
    held_fd_ = held_fd;
    sandbox_ = sandbox && sandbox->wanted() ? sandbox : nullptr;
    keeper_ = lanes && lanes->started() ? &lanes->keeper() : nullptr;
    transports_ = &transports;
    device_ = &device;
    workers_ = std::vector<Worker>(transports.queues());
    for (u32 index = 0; index < workers_.size(); ++index) start_thread(index);
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [this] {
        return std::ranges::all_of(workers_, [](const Worker& worker) { return worker.settled; });
    });
    return failure_;
}

void ShardThreads::start_thread(u32 index) {
    Status started = caught([&]() -> Status {
        workers_[index].thread = std::thread([this, index] { serve(index); });
        return {};
    });
    if (!started) end(index, std::move(started));
}

void ShardThreads::serve(u32 index) {
    ::prctl(PR_SET_NAME, fmt::format("ringloop-{}", index).c_str());
    end(index, caught([&] { return serve_until_stopped(index); }));
}

void ShardThreads::end(u32 index, Status status) {
    const std::lock_guard lock(mutex_);
    if (!status && failure_) failure_ = std::move(status);
    workers_[index].shard = nullptr;
    workers_[index].settled = true;
    ++ended_;
    changed_.notify_all();
}

Status ShardThreads::serve_until_stopped(u32 index) {
    auto ring = io::Uring::create(ring_options(*transports_, sandbox_ != nullptr));
    if (!ring) return std::unexpected(std::move(ring).error());
    if (sandbox_) sandbox_->note_ring((*ring)->restricted());
    if (held_fd_ >= 0) {
        const auto held = (*ring)->register_file(held_fd_);
        if (!held) return std::unexpected(held.error());
    }
    UniqueFd wakeup;
    if (keeper_) {
        auto shared = keeper_->wakeup_of(index);
        if (!shared) return std::unexpected(std::move(shared).error());
        wakeup = std::move(*shared);
    }
    auto shard = engine::Shard::create(**ring, *device_, transports_->slots(), std::move(wakeup));
    if (!shard) return std::unexpected(std::move(shard).error());
    TRY(transports_->join(index, **shard));
    const auto lanes = keeper_ ? keeper_->join(index, **shard) : nullptr;
    publish(index, **shard);
    // A start may fail; a shard that serves ends the process rather than lose a request.
    [&]() noexcept { (*shard)->run(); }();
    if (keeper_) keeper_->leave(index);
    {
        // Nobody may stop or read a shard that is about to go.
        const std::lock_guard lock(mutex_);
        workers_[index].shard = nullptr;
    }
    transports_->leave(index);
    return {};
}

void ShardThreads::publish(u32 index, engine::Shard& shard) {
    const std::lock_guard lock(mutex_);
    workers_[index].shard = &shard;
    workers_[index].settled = true;
    if (stopping_) shard.stop();
    changed_.notify_all();
}

// They stay: a loop ends by stop() only, which this thread calls.
std::vector<engine::Shard*> ShardThreads::serving() {
    std::vector<engine::Shard*> shards;
    const std::lock_guard lock(mutex_);
    for (const Worker& worker : workers_) {
        if (worker.shard) shards.push_back(worker.shard);
    }
    return shards;
}

Status ShardThreads::while_frozen(const std::string& device, const char* verb,
                                  const std::function<Status()>& change) {
    const auto shards = serving();
    const auto begin = std::chrono::steady_clock::now();
    const Status changed = [&]() -> Status {
        engine::Freeze freeze(shards);
        if (freeze.wait(freeze_timeout_ms)) return change();
        return fail(ETIMEDOUT,
                    "{}: requests are still with the image after {} s; see that its disk or "
                    "server answers, then {} again",
                    device, freeze_timeout_ms / 1000, verb);
    }();
    const auto paused = std::chrono::steady_clock::now() - begin;
    paused_us_ +=
        static_cast<u64>(std::chrono::duration_cast<std::chrono::microseconds>(paused).count());
    return changed;
}

Status ShardThreads::change_image(const std::string& device, backing::Backing& current,
                                  backing::Backing& next, const std::function<Status()>& before) {
    const auto shards = serving();
    engine::ImageChange change(shards, *device_, current);
    TRY(change.prepare(next));
    // A search for extents may wait for a file system, and others need not wait with it.
    const std::unique_lock searching(current.searching(),
                                     std::chrono::milliseconds(freeze_timeout_ms));
    if (!searching) {
        return fail(ETIMEDOUT,
                    "{}: its image is still being searched for data and holes after {} s; see that "
                    "its disk or server answers, then set again",
                    device, freeze_timeout_ms / 1000);
    }
    return while_frozen(device, "set", [&]() -> Status {
        TRY(before());
        change.carry_out(next);
        return {};
    });
}

void ShardThreads::confine() {
    if (!sandbox_) return;
    engine::on_each(serving(), [this](std::size_t, engine::Shard&) { sandbox_->confine_shard(); });
}

void ShardThreads::retry_held() {
    engine::on_each(serving(), [](std::size_t, engine::Shard& shard) { shard.retry_held(); });
}

bool ShardThreads::stop() {
    {
        std::unique_lock lock(mutex_);
        stopping_ = true;
        for (const Worker& worker : workers_) {
            if (worker.shard) worker.shard->stop();
        }
        if (!changed_.wait_for(lock, end_timeout, [this] { return ended_ == workers_.size(); })) {
            return false;
        }
    }
    for (Worker& worker : workers_) {
        if (worker.thread.joinable()) worker.thread.join();
    }
    workers_.clear();
    ended_ = 0;
    return true;
}

std::vector<const engine::ShardStats*> ShardThreads::stats() const {
    std::vector<const engine::ShardStats*> stats;
    const std::lock_guard lock(mutex_);
    for (const Worker& worker : workers_) {
        if (worker.shard) stats.push_back(&worker.shard->stats());
    }
    return stats;
}

}  // namespace ringloop::control
