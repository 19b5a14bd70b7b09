// The threads of a device: one for each queue of its transports, each with a ring and a shard.
#pragma once

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <thread>
#include <vector>

#include "control/lanes.h"
#include "control/sandbox.h"
#include "control/transports.h"
#include "engine/device.h"
#include "engine/shard.h"

namespace ringloop::control {

// Used by the control thread.
class ShardThreads {
public:
    ShardThreads() = default;
    ShardThreads(const ShardThreads&) = delete;
    ShardThreads& operator=(const ShardThreads&) = delete;
    ~ShardThreads();  // stop() has been called if start() was

    // Returns when every shard serves its queue, or with the error of one that cannot; the others
    // serve until stop(). `transports` and `device` outlive this object.
    // `held_fd`, if any, is kept open by the rings until their last request has ended, even when
    // this process is killed. `lanes`, if any, were started if they are wanted; they stop before
    // this object does.
    Status start(Transports& transports, engine::Device& device, int held_fd = -1,
                 Lanes* lanes = nullptr, Sandbox* sandbox = nullptr);

    // Each of them to the sandbox that it was started with, if any. After the device was brought
    // up: the kernel looks for partitions only where those who serve may administer it.
    void confine();

    // Runs `change` on this thread while no shard serves and nothing is in flight. Waits for that
    // with a bound: whoever asked for a change waits, and so do all requests. The error is that of
    // `change`, or of an image that does not answer: then it was not run, and the error names
    // `device` and the `verb` to try again.
    Status while_frozen(const std::string& device, const char* verb,
                        const std::function<Status()>& change);

    // Gives them `next`, which open_other() of `current`, the device's backing, has opened;
    // afterwards `next` is what was used before. `before` runs while no shard serves, and its
    // failure leaves everything as it was, as any other error does.
    Status change_image(const std::string& device, backing::Backing& current,
                        backing::Backing& next, const std::function<Status()>& before);

    // Requests that wait for room are tried again, now (engine/held.h).
    void retry_held();

    // For how long requests have been held back by it so far, in all, from the start of each
    // freeze until every shard served again. Microseconds.
    u64 paused_us() const { return paused_us_; }

    // Ends the loops and joins the threads. False when one did not end in time: the process must
    // exit then, because the thread still uses what would be destroyed.
    [[nodiscard]] bool stop();

    // The counters of the shards that serve; valid until stop().
    std::vector<const engine::ShardStats*> stats() const;

private:
    struct Worker {
        std::thread thread;
        engine::Shard* shard = nullptr;  // guarded by mutex_; set while its loop runs
        bool settled = false;            // guarded by mutex_: serves, or has failed
    };

    void start_thread(u32 index);
    void serve(u32 index);
    void end(u32 index, Status status);
    Status serve_until_stopped(u32 index);
    void publish(u32 index, engine::Shard& shard);
    std::vector<engine::Shard*> serving();

    Transports* transports_ = nullptr;
    engine::Device* device_ = nullptr;
    int held_fd_ = -1;
    cgroup::Keeper* keeper_ = nullptr;
    Sandbox* sandbox_ = nullptr;

    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<Worker> workers_;
    Status failure_;         // guarded by mutex_: of the first one that failed
    std::size_t ended_ = 0;  // guarded by mutex_
    u64 paused_us_ = 0;
    bool stopping_ = false;  // guarded by mutex_
};

}  // namespace ringloop::control
