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

// What was found of cgroups, and what it comes to: whether there are any, and whether I/O can be
// charged to them by lanes.
struct CgroupFacts {
    std::string error{};  // why there is none to charge anybody in; empty otherwise
    bool v2 = false;
    std::string v2_controllers{};  // of its root: "cpu io memory"
    bool blkio_v1 = false;
    bool memory_v1 = false;
    bool root = false;  // processes may be started in other cgroups
};
Finding cgroup_finding(const CgroupFacts& facts);
Finding lanes_finding(const CgroupFacts& facts);

// Ublk devices of ordinary users: who may, and what the driver says.
struct UsersFacts {
    bool administrator = false;  // the caller: has CAP_SYS_ADMIN
    bool loaded = false;         // there is /dev/ublk-control
    bool permitted = false;      // the caller may open /dev/ublk-control
    bool open_to_users = false;  // its mode or group lets others than root in
    // What the driver knows; nullopt: it cannot tell (before 6.5), or was not asked.
    std::optional<bool> supported{};
};
Finding users_finding(const UsersFacts& facts);

// Why not to trust ublk on this kernel, from `uname -r`; nullopt for a kernel without bad reports.
std::optional<std::string> known_defect(std::string_view release);

const char* to_text(Health health);

}  // namespace ringloop::control
