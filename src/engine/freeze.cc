#include "engine/freeze.h"

#include <chrono>

namespace ringloop::engine {

Freeze::Freeze(std::span<Shard* const> shards) : holds_(shards.size()) {
    for (std::size_t i = 0; i < shards.size(); ++i) {
        holds_[i].run = freeze_on_shard;
        holds_[i].freeze = this;
        holds_[i].shard = shards[i];
        shards[i]->post(holds_[i]);
    }
}

void Freeze::freeze_on_shard(Message& message, Shard& shard) {
    Freeze& freeze = *static_cast<Hold&>(message).freeze;
    shard.freeze(frozen_on_shard, &freeze);
    freeze.received_.release();
}

void Freeze::frozen_on_shard(void* freeze) { static_cast<Freeze*>(freeze)->frozen_.release(); }

bool Freeze::wait(u32 timeout_ms) {
    const auto deadline = std::chrono::steady_clock::now() + std::chrono::milliseconds(timeout_ms);
    while (frozen_count_ < holds_.size()) {
        if (!frozen_.try_acquire_until(deadline)) return false;
        ++frozen_count_;
    }
    return true;
}

Freeze::~Freeze() {
    // A message may be sent again only after it was run.
    for (std::size_t i = 0; i < holds_.size(); ++i) received_.acquire();
    for (Hold& hold : holds_) {
        hold.run = thaw_on_shard;
        hold.shard->post(hold);
    }
    for (std::size_t i = 0; i < holds_.size(); ++i) thawed_.acquire();
}

void Freeze::thaw_on_shard(Message& message, Shard& shard) {
    // The last thing that touches this object: the destructor goes on as soon as it is released.
    Freeze& freeze = *static_cast<Hold&>(message).freeze;
    shard.thaw();
    freeze.thawed_.release();
}

}  // namespace ringloop::engine
