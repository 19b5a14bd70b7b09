// The keeper makes the lanes of a device, watches them, and ends those that nobody needs. It has a
// thread of its own: the shards must not wait for a process to start, nor it for a person's
// question. A lane is a process in the cgroup whose requests it carries out; it serves all shards.
//
// A lane ends by SIGKILL, whatever the reason, so there is one way out of every state. What the
// shards had given it comes back only when the kernel has let go of the last of it (the lane's ring
// holds one end of a pipe): an old write could land on a newer one otherwise.
//
// Held: a lane that was stopped or frozen, by whatever means, is ended too, and its cgroup's
// requests go to the root lane for a while. They may be somebody else's to wait for: the pages of a
// filesystem that others use as well.
#pragma once

#include <sys/types.h>

#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <thread>
#include <vector>

#include "cgroup/hierarchy.h"
#include "cgroup/lane_entry.h"
#include "cgroup/mailbox.h"
#include "cgroup/shard_lanes.h"
#include "cgroup/spawner.h"
#include "cgroup/switchboard.h"

namespace ringloop::cgroup {

struct LaneReport {
    std::string cgroup;  // its path, as /proc/PID/cgroup names it
    const char* state = "";
    pid_t pid = 0;
    u64 requests = 0;
    u64 bytes_read = 0;
    u64 bytes_written = 0;
    u64 inflight = 0;
    u64 workers = 0;
    u64 idle_s = 0;
};

struct KeeperReport {
    std::vector<LaneReport> lanes;
    u64 started = 0;     // lanes, ever
    u64 reaped = 0;      // of them, because nobody needed them
    u64 lost = 0;        // of them, that ended otherwise
    u64 refused = 0;     // that could not be started
    u64 refusals = 0;    // requests that the root lane served instead, beside those that came back
    std::string reason;  // why one could not be started, or was lost, last
};

class Keeper {
public:
    struct Options {
        u32 shards = 1;
        u64 idle_ms = 60'000;  // after which a lane ends
        u64 fixed = 0;         // Charge::fixed
        int held_fd = -1;      // that the lanes' rings keep open, as the shards' do
        // What the keeper's thread, and each lane when it has opened the image, begin with.
        std::function<void()> confine{};
        void (*confine_lane)() = nullptr;
    };

    // Control thread, while the process has no other but a survey (engine/survey.h), which sleeps:
    // forks the process that lanes come from. What the lanes must see (engine::Buffers::share) is
    // mapped already. `hierarchies`, `backing` and `device` outlive it.
    static Result<std::unique_ptr<Keeper>> create(const Hierarchies& hierarchies,
                                                  const backing::Backing& backing,
                                                  engine::Device& device, const Options& options);
    ~Keeper();

    // Shard threads: the eventfd to make the shard with, and its lanes, which it serves then.
    Result<UniqueFd> wakeup_of(u32 shard) const;
    std::unique_ptr<ShardLanes> join(u32 index, engine::Shard& shard);
    // Its loop has ended; after stop().
    void leave(u32 index);

    // Control thread, before the shards' loops end, and with nothing in flight: posts nothing to a
    // shard afterwards, and every lane has ended. More than once is harmless.
    void stop();

    // Control thread. Ends all lanes that have nothing in flight, and waits for that, a few seconds
    // at most: how many are left.
    u32 reap();
    // Control thread, while all shards are frozen: ends all lanes, and those that start later have
    // another image, which `image_fd` has open for what they may do. EBUSY: some could not be
    // ended, and nothing has changed.
    Status change_image(int image_fd);
    void idle_after(u64 idle_ms);
    KeeperReport report() const;

private:
    struct Tenant;
    struct Setback;

    Keeper(const Hierarchies& hierarchies, engine::Device& device, const Options& options);
    Status prepare(const backing::Backing& backing);

    void run();
    void wait();
    void tick(u64 now_ms);
    void watch(Tenant& tenant, u64 now_ms);
    void handle(Letter& letter, u64 now_ms);

    void want(Letter& letter, u64 now_ms);
    void open(Letter& letter, Tenant& tenant);
    void refuse(Letter& letter, u64 for_ms);
    void ask_again(u64 now_ms);

    Tenant* start(u64 id);
    Tenant* make_room();
    void retire(Tenant& tenant);
    void retired(Tenant& tenant);
    void kill(Tenant& tenant, std::string why);
    void ended(Tenant& tenant, u64 now_ms);
    void vacate(Tenant& tenant);
    void let_go(Tenant& tenant, u32 shard, Seat* seat);
    void trouble(u64 id, const std::string& reason);

    Tenant* tenant_of(u64 id);
    u64 set_back_for_ms(u64 id, u64 now_ms) const;
    void set_back(u64 id, u64 now_ms);

    const Hierarchies& hierarchies_;
    engine::Device& device_;
    const Options options_;
    Charge charge_;
    std::unique_ptr<Switchboard> board_;
    LaneContext context_;           // what a lane begins with
    std::vector<UniqueFd> events_;  // of the shards
    std::unique_ptr<Spawner> spawner_;
    std::unique_ptr<Mailbox> mailbox_;
    std::thread thread_;

    // The shards' side takes mutex_ only in join, the control thread for its questions; the
    // keeper's thread while it changes what they may look at.
    mutable std::mutex mutex_;
    std::condition_variable changed_;
    std::vector<engine::Shard*> shards_;
    std::vector<ShardLanes*> shard_lanes_;
    std::vector<std::unique_ptr<Tenant>> tenants_;  // by lane, lanes_max; the keeper's thread owns
    std::vector<Setback> setbacks_;
    Letter* parked_ = nullptr;  // wants that wait for a lane to end
    KeeperReport counts_;
    u64 idle_ms_;
    bool stopping_ = false;
    bool reaping_ = false;
};

}  // namespace ringloop::cgroup
