#include "frontend/nbd/slot.h"

#include <sys/mman.h>

namespace ringloop::nbd {

SlotPool::SlotPool(u32 small_count, u32 large_count)
    : slots_(std::make_unique<Slot[]>(small_count + large_count)) {}

std::unique_ptr<SlotPool> SlotPool::create(u32 small_count, u32 large_count) {
    const u64 length = u64{small_count} * small_slot_bytes + u64{large_count} * piece_bytes_max;
    // Pages are there once they carried data: an idle connection has none. A huge page would give
    // a request of 4 KiB two megabytes.
    void* address = mmap(nullptr, length, PROT_READ | PROT_WRITE,
                         MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
    if (address == MAP_FAILED) return nullptr;
    static_cast<void>(madvise(address, length, MADV_NOHUGEPAGE));
    static_cast<void>(madvise(address, length, MADV_DONTFORK));

    std::unique_ptr<SlotPool> pool(new SlotPool(small_count, large_count));
    pool->buffers_ = {address, Unmap{length}};
    auto* buffer = static_cast<std::byte*>(address);
    for (u32 i = 0; i < small_count + large_count; ++i) {
        Slot& slot = pool->slots_[i];
        slot.bytes_max = i < small_count ? small_slot_bytes : piece_bytes_max;
        slot.buffer = buffer;
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

void SlotPool::Unmap::operator()(void* address) const { munmap(address, length); }

}  // namespace ringloop::nbd
