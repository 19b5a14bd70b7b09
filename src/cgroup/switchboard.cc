#include "cgroup/switchboard.h"

#include <type_traits>

#include "base/assert.h"

namespace ringloop::cgroup {
namespace {

// The part of each lane is a whole number of pages, which are given back when it ends: a page that
// stayed would keep the cgroup of whoever touched it first from being forgotten by the kernel.
u64 doorbell_bytes(u32 shards) {
    return align_up((shards + lanes_max) * sizeof(Doorbell), page_bytes());
}
u64 lane_bytes(u32 shards) { return align_up(shards * sizeof(Channel), page_bytes()); }

// Zeroes are what a new one is made of, so memory that the kernel gave out needs no constructor.
static_assert(std::is_trivially_destructible_v<Channel> &&
              std::is_trivially_destructible_v<Doorbell>);
static_assert(sizeof(Channel) % 64 == 0 && alignof(Channel) == 64);
static_assert(std::atomic<u64>::is_always_lock_free && std::atomic<u32>::is_always_lock_free);

}  // namespace

Result<std::unique_ptr<Switchboard>> Switchboard::create(u32 shards) {
    ASSERT(shards > 0 && shards <= shards_max);
    auto memory = SharedMemory::create(doorbell_bytes(shards) + lanes_max * lane_bytes(shards));
    if (!memory) return std::unexpected(std::move(memory).error());
    return std::unique_ptr<Switchboard>(new Switchboard(std::move(*memory), shards));
}

Switchboard::Switchboard(SharedMemory memory, u32 shards)
    : memory_(std::move(memory)),
      shards_(shards),
      lanes_offset_(doorbell_bytes(shards)),
      lane_bytes_(lane_bytes(shards)),
      doorbells_(reinterpret_cast<Doorbell*>(memory_.data())) {
    // These pages stay, so they are the server's.
    for (u32 i = 0; i < shards + lanes_max; ++i) doorbells_[i].reset();
}

void Switchboard::reset(u32 lane) {
    this->lane(lane).reset();
    memory_.forget(offset_of(lane), lane_bytes_);
}

}  // namespace ringloop::cgroup
