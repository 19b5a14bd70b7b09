// What losetup(8) prints about devices, by the same library as util-linux does, so that tables,
// --raw and --json are the same to the letter.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "cli/losetup_arguments.h"
#include "control/devices.h"

namespace ringloop::cli {

// "/dev/ublkb0: [65024]:131 (/tmp/disk.img), offset 4096, sizelimit 65536"
std::string losetup_line(const control::DeviceState& state);

// On stdout. An error: libsmartcols is missing, or could not do it.
Status print_losetup_table(const LosetupCommand& command,
                           const std::vector<control::KnownDevice>& devices);

// One cell; nullopt of what is not known.
std::optional<std::string> losetup_cell(std::string_view column, const control::DeviceState& state);

}  // namespace ringloop::cli
