#include "sim/disk.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>
#include <utility>

namespace ringloop::sim {

Disk::Disk(const Options& options, Prng& prng, Trace& trace, const Timeline& timeline)
    : options_(options),
      prng_(prng),
      trace_(trace),
      timeline_(timeline),
      live_(options.image_bytes),
      stable_(options.image_bytes),
      sectors_(options.image_bytes / sector_bytes),
      pages_(options.image_bytes / page_bytes, !options.sparse),
      free_pages_(options.free_pages),
      size_(options.image_bytes) {
    ASSERT(is_aligned(options.image_bytes, page_bytes));
}

// ---- What operations do ----

u64 Disk::room(ByteRange range) const {
    u64 needed = 0;
    for (u64 page = range.offset / page_bytes; page * page_bytes < range.end(); ++page) {
        if (pages_[page] || ++needed <= free_pages_) continue;
        const u64 start = page * page_bytes;
        return start <= range.offset ? 0 : start - range.offset;
    }
    return range.length;
}

bool Disk::allocated(ByteRange range) const {
    for (u64 page = range.offset / page_bytes; page * page_bytes < range.end(); ++page) {
        if (!pages_[page]) return false;
    }
    return true;
}

bool Disk::readable(ByteRange range) const {
    for (u64 sector = range.offset / sector_bytes; sector * sector_bytes < range.end(); ++sector) {
        if (sectors_[sector].spoiled) return false;
    }
    return true;
}

// A write outside the device's part of the image, or behind its end, destroys somebody's data.
bool Disk::guard(ByteRange range, const char* what) {
    const ByteRange device = options_.device;
    const bool within = range.offset >= device.offset && range.end() <= device.end();
    if (!within && violation_.empty()) {
        violation_ = fmt::format("{} of {} bytes at {} of the image: the device is {} bytes at {}",
                                 what, range.length, range.offset, device.length, device.offset);
    }
    return within;
}

void Disk::allocate(ByteRange range) {
    for (u64 page = range.offset / page_bytes; page * page_bytes < range.end(); ++page) {
        if (pages_[page]) continue;
        pages_[page] = true;
        if (free_pages_ > 0) --free_pages_;
    }
}

void Disk::touch(ByteRange range) {
    ++writes_;
    for (u64 sector = range.offset / sector_bytes; sector * sector_bytes < range.end(); ++sector) {
        Sector& it = sectors_[sector];
        it.spoiled = it.lost = false;
        if (it.dirty_since == 0) {
            it.dirty_since = writes_;
            dirty_.push_back(static_cast<u32>(sector));
        }
    }
    size_ = std::max(size_, range.end());
}

void Disk::write(u64 offset, const std::byte* data, u64 length) {
    if (std::exchange(misdirect_next, false) && offset + page_bytes + length <= live_.size()) {
        offset += page_bytes;
    }
    const ByteRange range{offset, length};
    if (!guard(range, "a write")) return;
    allocate(range);
    touch(range);
    std::memcpy(&live_[offset], data, length);
}

u64 Disk::read(u64 offset, std::byte* data, u64 length) const {
    if (offset >= size_) return 0;
    const u64 bytes = std::min(length, size_ - offset);
    std::memcpy(data, &live_[offset], bytes);
    return bytes;
}

void Disk::zero(ByteRange range, bool keep_allocated) {
    if (!guard(range, keep_allocated ? "zeroing" : "punching")) return;
    const u64 size = size_;
    touch(range);
    size_ = size;  // FALLOC_FL_KEEP_SIZE
    std::memset(&live_[range.offset], 0, range.length);
    if (keep_allocated) return allocate(range);
    // Whole pages only; the rest is zeroed where it is.
    u64 page = align_up(range.offset, page_bytes) / page_bytes;
    for (; (page + 1) * page_bytes <= range.end(); ++page) {
        if (!pages_[page]) continue;
        pages_[page] = false;
        if (free_pages_ != ~u64{0}) ++free_pages_;
    }
}

// ---- What survives ----

void Disk::make_stable(u64 sector) {
    Sector& it = sectors_[sector];
    it.dirty_since = 0;
    if (it.lost) return;
    std::memcpy(&stable_[sector * sector_bytes], &live_[sector * sector_bytes], sector_bytes);
}

// What became dirty after the mark stays so: a sync owes it nothing.
void Disk::sync(u64 mark) {
    std::erase_if(dirty_, [&](u32 sector) {
        const u64 since = sectors_[sector].dirty_since;
        if (since > mark) return false;
        if (since > 0) make_stable(sector);
        return true;
    });
}

void Disk::sync_range(ByteRange range) {
    std::erase_if(dirty_, [&](u32 sector) {
        const ByteRange there{sector * sector_bytes, sector_bytes};
        if (!range.overlaps(there)) return false;
        if (sectors_[sector].dirty_since > 0) make_stable(sector);
        return true;
    });
}

// The kernel marks such a page clean: a later sync finds nothing to write, and succeeds.
void Disk::lose(u64 mark) {
    for (const u32 sector : dirty_) {
        Sector& it = sectors_[sector];
        if (it.dirty_since > 0 && it.dirty_since <= mark && prng_.below(2) == 0) {
            it.lost = true;
            tell(What::lost_page, {sector * sector_bytes, sector_bytes});
        }
    }
}

void Disk::tell(What what, ByteRange range) {
    trace_.add({.at_ns = timeline_.now_ns(), .what = what, .range = range});
}

void Disk::write_back_some() {
    for (u64 count = prng_.below(8); count > 0 && !dirty_.empty(); --count) {
        const u64 at = prng_.below(dirty_.size());
        const u32 sector = dirty_[at];
        dirty_[at] = dirty_.back();
        dirty_.pop_back();
        if (sectors_[sector].dirty_since == 0) continue;
        make_stable(sector);
        tell(What::writeback, {sector * sector_bytes, sector_bytes});
    }
}

void Disk::writeback_fails() {
    if (dirty_.empty()) return;
    ++writeback_errors_;
    lose(writes_);
}

void Disk::spoil(u64 offset) { sectors_[offset / sector_bytes].spoiled = true; }

void Disk::truncate(u64 bytes) {
    size_ = bytes;
    for (u64 sector = bytes / sector_bytes; sector < sectors_.size(); ++sector) {
        std::memset(&live_[sector * sector_bytes], 0, sector_bytes);
        std::memset(&stable_[sector * sector_bytes], 0, sector_bytes);
        sectors_[sector] = {};
    }
    std::erase_if(dirty_, [&](u32 sector) { return sector * sector_bytes >= bytes; });
}

void Disk::heal() {
    for (Sector& it : sectors_) it.spoiled = false;
    for (u64 sector = 0; sector < sectors_.size(); ++sector) {
        sectors_[sector].lost = false;
        make_stable(sector);
    }
    dirty_.clear();
    free_pages_ = ~u64{0};
    size_ = options_.image_bytes;
    writeback_errors_told = writeback_errors_;
}

u64 Disk::power_cut() {
    u64 taken_back = 0;
    u64 page = ~u64{0};
    u64 fate = 0;  // of the page: 0 kept, 1 dropped, 2 torn
    std::ranges::sort(dirty_);
    for (const u32 sector : dirty_) {
        Sector& it = sectors_[sector];
        if (it.dirty_since == 0) continue;
        if (sector / (page_bytes / sector_bytes) != page) {
            page = sector / (page_bytes / sector_bytes);
            fate = prng_.below(3);
        }
        const bool kept = fate == 0 || (fate == 2 && prng_.below(2) == 0);
        if (kept && !it.lost) {
            make_stable(sector);
        } else {
            ++taken_back;
        }
    }
    dirty_.clear();
    for (Sector& it : sectors_) it.dirty_since = 0, it.lost = false;
    live_ = stable_;
    return taken_back;
}

}  // namespace ringloop::sim
