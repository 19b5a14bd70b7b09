#include "frontend/nbd/slot.h"

namespace ringloop::nbd {

SlotPool::SlotPool(u32 small_count, u32 large_count)
    : slots_(std::make_unique<Slot[]>(small_count + large_count)),
      count_(small_count + large_count) {}

std::unique_ptr<SlotPool> SlotPool::create(engine::Buffers& buffers, u32 small_count,
                                           u32 large_count, u64 cgroup) {
    std::unique_ptr<SlotPool> pool(new SlotPool(small_count, large_count));
    pool->buffers_ = buffers.take(buffer_bytes(small_count, large_count));
    if (!pool->buffers_) return nullptr;
    std::byte* buffer = pool->buffers_.data();
    for (u32 i = 0; i < small_count + large_count; ++i) {
        Slot& slot = pool->slots_[i];
        slot.bytes_max = i < small_count ? small_slot_bytes : piece_bytes_max;
        slot.buffer = buffer;
        slot.cgroup = cgroup;
        buffer += slot.bytes_max;
        (i < small_count ? pool->small_free_ : pool->large_free_).push(slot);
    }
    pool->large_free_count_ = large_count;
    return pool;
}

Slot* SlotPool::take(SlotList& list) {
    Slot* slot = list.pop();
    if (!slot) return nullptr;
    ++busy_;
    slot->error = Errno::ok;
    slot->started_bytes = 0;
    slot->pieces = slot->pieces_sending = slot->pieces_wanted = 0;
    slot->collected = nullptr;
    slot->lead = slot;
    slot->filled_bytes = 0;
    slot->fragment_count = 0;
    slot->fua = slot->no_unmap = slot->fast_zero = false;
    return slot;
}

void SlotPool::make_impatient() {
    for (u32 i = 0; i < count_; ++i) slots_[i].impatient = true;
}

// To the front: the slot whose memory is warm goes out next, and memory that was never needed is
// never touched.
void SlotPool::give_back(Slot& slot) {
    ASSERT(busy_ > 0 && !slot.active);
    --busy_;
    if (slot.bytes_max == small_slot_bytes) {
        small_free_.push_front(slot);
        return;
    }
    large_free_.push_front(slot);
    ++large_free_count_;
}

}  // namespace ringloop::nbd
