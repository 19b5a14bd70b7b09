// Holds all shards of a device still: requests wait before admission, nothing is in flight below.
// What a change of the backing file, the policy or the size happens under.
#pragma once

#include <semaphore>
#include <span>
#include <vector>

#include "engine/shard.h"

namespace ringloop::engine {

class Freeze {
public:
    // Control thread. Asks every shard to freeze; they do so at the end of their current pass.
    // The shards must be running, and outlive this object.
    explicit Freeze(std::span<Shard* const> shards);

    // Thaws, and returns when every shard serves again.
    ~Freeze();

    Freeze(const Freeze&) = delete;
    Freeze& operator=(const Freeze&) = delete;

    // True once nothing is in flight on any shard; false when that took longer than timeout_ms,
    // as it does on a backing that has stopped answering. Then only the destructor helps.
    bool wait(u32 timeout_ms);

private:
    struct Hold : Message {
        Freeze* freeze = nullptr;
        Shard* shard = nullptr;
    };

    static void freeze_on_shard(Message& message, Shard& shard);
    static void frozen_on_shard(void* freeze);
    static void thaw_on_shard(Message& message, Shard& shard);

    std::vector<Hold> holds_;
    std::counting_semaphore<> received_{0};  // shards that took the freeze message
    std::counting_semaphore<> frozen_{0};    // shards with nothing in flight
    std::counting_semaphore<> thawed_{0};
    std::size_t frozen_count_ = 0;
};

}  // namespace ringloop::engine
