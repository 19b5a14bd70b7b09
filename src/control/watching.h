// To look at a server again and again, and to hear at once when it ends.
#pragma once

#include "base/result.h"
#include "base/unique_fd.h"
#include "control/runtime_dir.h"
#include "control/signals.h"
#include "control/wait.h"

namespace ringloop::control {

// Readable once the server's process has ended. Empty when nobody serves the device.
UniqueFd process_of(const RuntimeDir& directory, const DeviceState& state);

enum class Woken : u8 { timeout, signal, ended };

// Waits for the deadline, a signal, or the end of the process, whatever comes first.
Result<Woken> wait_beside(const Signals& signals, const UniqueFd& process,
                          const Deadline& deadline);

// What became of a device whose server has ended: it was detached, or it waits for recovery.
Error end_of(const RuntimeDir& directory, const DeviceState& state);

}  // namespace ringloop::control
