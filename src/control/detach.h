// Ending a device from outside its server, and being sure that it ended.
#pragma once

#include <string>
#include <vector>

#include "control/devices.h"
#include "control/wait.h"

namespace ringloop::control {

struct DetachOptions {
    u64 timeout_ms = 10'000;  // how long to wait for others to let go of the device
    bool force = false;       // take it from them
};

// Returns when the device, its node, its server and its files are gone. EBUSY names who holds it.
Status detach(const RuntimeDir& directory, const KnownDevice& device, const DetachOptions& options);

// What a new server left that was started at `since` (utc_now) or later and died before anybody was
// told of its device, which may have been usable by then. It has no users, so nothing waits.
void remove_leftovers_of(const RuntimeDir& directory, i32 server_pid, const std::string& since);

// Asks the server of a device; `fd` as of Conversation::ask. A server that is starting or does not
// answer is an error.
inline constexpr u64 answer_timeout_ms = 2'000;  // of a question that is answered at once
Result<std::string> ask_server(const RuntimeDir& directory, const std::string& name,
                               std::string_view question, u64 timeout_ms = answer_timeout_ms,
                               int fd = -1);

// Asks many at the same time: the answers in the order of the names. A server that does not answer
// by the deadline costs the others nothing.
std::vector<Result<std::string>> ask_servers(const RuntimeDir& directory,
                                             const std::vector<std::string>& names,
                                             std::string_view question, const Deadline& deadline);

}  // namespace ringloop::control
