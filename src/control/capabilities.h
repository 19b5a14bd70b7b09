// Which of root's powers a thread keeps: linux/capability.h.
#pragma once

#include <span>

#include "base/result.h"

namespace ringloop::control {

struct Capability {
    u32 number;
    const char* name;  // "CAP_SYS_ADMIN"
};

bool has_capability(u32 number);

// This thread keeps, of those it has, `kept`; nothing that it starts gets others. Any thread.
Status keep_capabilities(std::span<const Capability> kept);

}  // namespace ringloop::control
