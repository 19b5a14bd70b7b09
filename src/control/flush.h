// Bringing to a device what the page cache and a mounted filesystem still hold of it. The driver
// ends a disk as if it had been pulled out (Linux 6.12: what is dirty then is lost), so this comes
// before every stop of a device that may be in use.
#pragma once

#include <string>

#include "control/wait.h"

namespace ringloop::control {

// In this process, which waits as long as the device takes: never in the server itself, whose
// death while it waits for its own device could not release /dev/ublkcN.
void flush_disk(const std::string& device);

// The same in a process of its own (blockdev of util-linux). False when it did not end in time or
// could not be started; it is left behind then, and ends with the device.
bool flush_disk_in_child(const std::string& device, const Deadline& deadline);

}  // namespace ringloop::control
