// Sizes as losetup reads and people write them.
#pragma once

#include <string>
#include <string_view>

#include "base/result.h"

namespace ringloop {

// "512", "1M", "1MiB" (2^20), "1MB" (10^6), "0x1000". K M G T P E, any case. No sign, no fraction,
// nothing behind it; a value above 2^64-1 is refused. `what` names the option in the message.
Result<u64> parse_size(std::string_view text, std::string_view what);

// "1.5 GiB", "512 B": three digits at the most, for people.
std::string format_size(u64 bytes);

}  // namespace ringloop
