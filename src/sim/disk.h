// The image and the disk that it lies on, in memory: what reads see, what would survive a power
// cut, which blocks are allocated. Whatever was written is volatile until a sync that began after
// it has ended; before, a power cut keeps, drops or tears each page at 512 bytes.
#pragma once

#include <string>
#include <vector>

#include "base/range.h"
#include "sim/prng.h"
#include "sim/timeline.h"
#include "sim/trace.h"

namespace ringloop::sim {

inline constexpr u64 sector_bytes = 512;
inline constexpr u64 page_bytes = 4096;

class Disk {
public:
    struct Options {
        u64 image_bytes = 0;       // of the whole file
        ByteRange device{};        // the part that the device may touch; the rest is guarded
        bool sparse = false;       // nothing is allocated at first
        u64 free_pages = ~u64{0};  // that can still be allocated
        bool block_device = false;
    };

    Disk(const Options& options, Prng& prng, Trace& trace, const Timeline& timeline);

    // ---- What operations do. Offsets of the image. Nothing here fails by chance.

    // Bytes that can be written from `offset` on: all, fewer at the first page that finds no room,
    // 0 when there is none.
    u64 room(ByteRange range) const;
    bool allocated(ByteRange range) const;
    bool readable(ByteRange range) const;  // no latent error in it
    void write(u64 offset, const std::byte* data, u64 length);
    // Returns the bytes read: fewer at the end of the file.
    u64 read(u64 offset, std::byte* data, u64 length) const;
    void zero(ByteRange range, bool keep_allocated);

    // What a sync that begins now will have to cover.
    u64 mark() const { return writes_; }
    void sync(u64 mark);
    // The same of one range, as RWF_DSYNC does it.
    void sync_range(ByteRange range);
    // A sync failed: some of the pages that it covers are lost to every later one.
    void lose(u64 mark);
    u64 writeback_errors() const { return writeback_errors_; }
    // Of them, those that some file has been told: files that are opened later are not (errseq_t).
    u64 writeback_errors_told = 0;

    // ---- What happens by itself.

    void write_back_some();
    void writeback_fails();    // some dirty page is lost; a sync will tell
    void spoil(u64 offset);    // a sector that cannot be read until it is written again
    void truncate(u64 bytes);  // by somebody else
    void give_room(u64 pages) { free_pages_ = pages; }
    // The end of all faults: sectors can be read, there is room, the file is as long as it was, and
    // what was lost to syncs has been written once more.
    void heal();
    // Returns the number of sectors that went back to an older content.
    u64 power_cut();

    u64 size() const { return size_; }
    const std::byte* live(u64 offset) const { return &live_[offset]; }

    // Somebody wrote outside the device's part of the image, or another thing that no fault
    // excuses.
    const std::string& violation() const { return violation_; }

    // For the oracle's own test: a disk that lies. The next write lands one page further.
    bool misdirect_next = false;

private:
    struct Sector {
        u64 dirty_since = 0;  // writes_ when it became dirty; 0: clean
        bool lost = false;    // its content never becomes stable
        bool spoiled = false;
    };

    void touch(ByteRange range);
    void make_stable(u64 sector);
    bool guard(ByteRange range, const char* what);
    void tell(What what, ByteRange range);
    void allocate(ByteRange range);

    Options options_;
    Prng& prng_;
    Trace& trace_;
    const Timeline& timeline_;
    std::vector<std::byte> live_;
    std::vector<std::byte> stable_;
    std::vector<Sector> sectors_;
    std::vector<u32> dirty_;   // indices of sectors that are, or were lately
    std::vector<bool> pages_;  // allocated
    u64 free_pages_ = 0;
    u64 size_ = 0;
    u64 writes_ = 1;
    u64 writeback_errors_ = 0;
    std::string violation_;
};

}  // namespace ringloop::sim
