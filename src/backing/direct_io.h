// Whether a device moves its bytes past the page cache (O_DIRECT), and what that needs.
//
// Two steps: probe_direct asks the system what the file can do, decide_direct makes a rule of it
// that depends on nothing else and is tested as a table.
#pragma once

#include <string>

#include "backing/backing.h"
#include "backing/image.h"

namespace ringloop::backing {

inline constexpr u32 sector_size_min_bytes = 512;
inline constexpr u32 sector_size_max_bytes = 4096;  // the page: no kernel takes a larger block

// What direct I/O on a file needs, or why there is none.
struct DirectSupport {
    u32 offset_alignment_bytes = 0;  // of offsets and lengths; power of two; 0: no direct I/O
    u32 memory_alignment_bytes = 1;  // of buffers
    std::string obstacle;            // when there is none
};

// Opens the image anew with O_DIRECT and reads a block that contains `offset_bytes`: overlayfs
// and 9p accept the flag and refuse the read. Control thread; may block as long as a read.
DirectSupport probe_direct(const Image& image, u64 offset_bytes);

struct DirectFacts {
    DirectIo mode = DirectIo::automatic;
    u64 offset_bytes = 0;
    u32 sector_size_bytes = 0;  // 0: not asked for
    bool block_device = false;
    DirectSupport support{};  // not looked at when mode is off
};

struct DirectDecision {
    bool direct = false;
    u32 sector_size_bytes = 512;
    std::string reason;  // why not direct; empty when it is
};

// The error (without the image's name) is a sector size that no kernel takes, or direct I/O that
// was demanded and is not possible. The rule is losetup's: sectors at least as large as the
// alignment, the image's offset a multiple of it; demanding direct I/O raises the sector size.
Result<DirectDecision> decide_direct(const DirectFacts& facts);

}  // namespace ringloop::backing
