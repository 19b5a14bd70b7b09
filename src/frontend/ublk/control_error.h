// What goes wrong between us and the driver, in one line each, for people.
#pragma once

#include <string_view>

#include "base/result.h"

namespace ringloop::ublk {

// Which command failed; the same errno means different things to different ones.
enum class Step : u8 {
    features,
    info,
    info2,
    add,
    set_params,
    params,
    update_size,
    start,
    stop,
    remove,
    start_recovery,
    end_recovery,
};

// "GET_DEV_INFO": as the driver's documentation has it.
const char* name_of(Step step);

// `number`: the driver's answer as a positive errno, or ETIME when it never came. `id` names the
// device; ignored for those steps that have none yet.
Error driver_error(Step step, u32 id, i32 number);

// The node of a user's new device stayed somebody else's: why it cannot be opened.
Error not_given_error(u32 id, i32 number);

// /dev/ublk-control cannot be opened: open's errno, the kernel's release, and whether a module
// ublk_drv is installed for it.
Error open_error(i32 number, std::string_view release, bool module_installed);

}  // namespace ringloop::ublk
