// What this host can do for ringloop, and what to change where it cannot.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/int.h"

namespace ringloop::control {

enum class Health : u8 { ok, warn, fail };

struct Finding {
    Health health = Health::ok;
    std::string topic;   // "io_uring"
    std::string fact;    // what was found
    std::string remedy;  // what to do; empty when there is nothing to do
};

struct Diagnosis {
    std::vector<Finding> findings;
    bool usable = false;  // an image can be attached on this host
};

Diagnosis diagnose();

// Why not to trust ublk on this kernel, from `uname -r`; nullopt for a kernel without bad reports.
std::optional<std::string> known_defect(std::string_view release);

const char* to_text(Health health);

}  // namespace ringloop::control
