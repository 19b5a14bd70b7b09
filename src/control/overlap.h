// What else uses the image that a new device shall be made of. Control thread; reads files.
#pragma once

#include <string>

#include "base/result.h"
#include "control/options.h"
#include "control/runtime_dir.h"

namespace ringloop::control {

// Devices in images in devices: the stack of the kernel's block layer pays for each, and a person
// who has more than this has a mistake.
inline constexpr u32 nesting_max = 8;

// Whether the device may lie in `image`: ELOOP where more than nesting_max devices, ours or the
// kernel's loop devices, lie under it, or where `own_device` ("" of a device that is not there yet)
// is one of them. A file on a filesystem on such a device counts as a new beginning, as it does for
// the kernel's driver.
Status check_nesting(const RuntimeDir& directory, const std::string& image,
                     const std::string& own_device = "");

// "PATH: /dev/ublkb0 has it (pid 12), ...; detach it, or ... --allow-overlap": for the person whose
// attach met a lock (backing/image_lock.h).
Error in_use_by_others(const RuntimeDir& directory, const DeviceOptions& options);

// "pid 12 (qemu-system-x86)" for each process that has a lock on the file, as far as this user may
// see.
std::vector<std::string> lock_holders_of(const std::string& path);

// Whether a line of /proc/PID/fdinfo/N is a lock of the file of that number on that device.
bool is_lock_of(std::string_view line, u32 major, u32 minor, u64 inode);

}  // namespace ringloop::control
