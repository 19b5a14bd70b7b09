// Descriptors from one process to another, any number of them, over a socket of packets.
#pragma once

#include <span>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "control/wait.h"

namespace ringloop::control {

inline constexpr u32 files_max = 4096;  // passed at a time

// They stay the sender's. EPIPE: the other end is gone.
Status send_files(int socket, std::span<const int> files, const Deadline& deadline);

// Exactly `count`, in the order in which they were sent, close-on-exec. An error, and none is kept,
// where the other end sends something else, or this process may not have that many.
Result<std::vector<UniqueFd>> receive_files(int socket, std::size_t count,
                                            const Deadline& deadline);

}  // namespace ringloop::control
