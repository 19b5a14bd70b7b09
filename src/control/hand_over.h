// A device passes from its server to the next one, of a newer ringloop perhaps, while it is in use.
#pragma once

#include "base/result.h"
#include "control/runtime_dir.h"
#include "control/state.h"

namespace ringloop::control {

// Asks the server to end and to leave its device as it is, with nothing in flight and everything
// synced, and waits until it has ended. What its users ask for from now on waits for the next
// server: `serve --recover`. Refused, and nothing happens, where clients of sockets would be cut
// off (without `force`), where a service manager looks after the server, or where a sync fails.
Status hand_over(const RuntimeDir& directory, const DeviceState& state, bool force);

}  // namespace ringloop::control
