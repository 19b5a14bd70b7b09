#include "control/doctor.h"

#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <charconv>

#include "abi/ublk.h"
#include "base/mountinfo.h"
#include "base/result.h"
#include "cgroup/hierarchy.h"
#include "cgroup/issuers.h"
#include "control/files.h"
#include "control/harden.h"
#include "control/kernel.h"
#include "control/landlock.h"
#include "control/runtime_dir.h"
#include "control/seccomp.h"
#include "frontend/nbd/kernel_device.h"
#include "frontend/ublk/control.h"
#include "io/uring.h"

namespace ringloop::control {
namespace {

struct Version {
    u32 major = 0;
    u32 minor = 0;
    u32 patch = 0;
    auto operator<=>(const Version&) const = default;
};

// "6.12.117+deb12-amd64" -> 6.12.117. Missing numbers are 0.
Version version_of(std::string_view release) {
    Version version;
    const char* at = release.data();
    const char* end = at + release.size();
    for (u32* number : {&version.major, &version.minor, &version.patch}) {
        const auto [next, error] = std::from_chars(at, end, *number);
        if (error != std::errc{}) break;
        if (next == end || *next != '.') break;
        at = next + 1;
    }
    return version;
}

Finding check_kernel() {
    const std::string release = kernel_release();
    const auto defect = known_defect(release);
    if (!defect) return {Health::ok, "kernel", "Linux " + release, ""};
    return {Health::warn, "kernel", fmt::format("Linux {}: {}", release, *defect),
            "boot another kernel"};
}

Finding check_uring() {
    const auto ring = io::Uring::create({});
    if (!ring) return {Health::fail, "io_uring", ring.error().message, ""};
    const std::string setting = read_line("/proc/sys/kernel/io_uring_disabled");
    if (setting == "1") {
        return {Health::warn, "io_uring", "works for privileged processes only",
                "sysctl kernel.io_uring_disabled=0"};
    }
    return {Health::ok, "io_uring", "works", ""};
}

std::string feature_text(u64 features) {
    struct Feature {
        u64 bit;
        const char* name;
    };
    // Bits of include/uapi/linux/ublk_cmd.h that say what a later version could use here.
    constexpr std::array<Feature, 9> known = {{{1u << 3, "user recovery"},
                                               {1u << 4, "reissue"},
                                               {1u << 5, "unprivileged"},
                                               {1u << 0, "zero copy"},
                                               {1u << 7, "user copy"},
                                               {1u << 9, "fail I/O"},
                                               {1u << 10, "resize"},
                                               {1u << 11, "buffer registration"},
                                               {1u << 12, "quiesce"}}};
    std::string text;
    for (const Feature& feature : known) {
        if ((features & feature.bit) == 0) continue;
        text += (text.empty() ? "" : ", ") + std::string(feature.name);
    }
    return text;
}

ublk::Caller caller() {
    return may_administer() ? ublk::Caller::administrator : ublk::Caller::user;
}

UsersFacts users_facts() {
    constexpr const char* path = "/dev/ublk-control";
    UsersFacts facts{.administrator = may_administer()};
    struct stat node{};
    if (::stat(path, &node) != 0) return facts;
    facts.loaded = true;
    facts.permitted = ::access(path, R_OK | W_OK) == 0;
    const bool group = node.st_gid != 0 && (node.st_mode & S_IWGRP) != 0;
    facts.open_to_users = node.st_uid != 0 || group || (node.st_mode & S_IWOTH) != 0;
    auto control = ublk::Control::open(caller());
    if (!control) return facts;
    const auto features = control->features();
    // Before 6.3 every command of such a caller is refused.
    if (!features && features.error().number == EPERM) facts.supported = false;
    if (features && *features) {
        facts.supported = (**features & abi::ublk::flag_unprivileged) != 0;
    }
    return facts;
}

Finding check_users() { return users_finding(users_facts()); }

Finding check_ublk() {
    if (!path_exists("/dev/ublk-control") && has_driver("ublk_drv")) {
        return {Health::ok, "ublk", "the driver is installed and not loaded; attach loads it", ""};
    }
    if (!path_exists("/dev/ublk-control")) {
        return {Health::warn, "ublk", "this kernel was built without the ublk driver",
                "attach takes nbd, then a socket; for ublk boot a kernel that has it "
                "(CONFIG_BLK_DEV_UBLK, Linux 6.0 or later; Debian 12: apt install "
                "linux-image-6.12-amd64)"};
    }
    auto control = ublk::Control::open(caller());
    if (!control) return {Health::warn, "ublk", control.error().message, ""};
    const auto features = control->features();
    if (!features) return {Health::warn, "ublk", features.error().message, ""};
    if (!*features) {
        return {Health::ok, "ublk", "works; this kernel cannot tell its features (before 6.5)", ""};
    }
    return {Health::ok, "ublk", "works: " + feature_text(**features), ""};
}

Finding check_nbd() {
    if (!has_driver("nbd")) {
        return {Health::warn, "nbd", "this kernel has no nbd driver",
                "not needed where ublk works; otherwise install the distribution's full kernel"};
    }
    if (!path_exists("/sys/module/nbd")) {
        return {Health::ok, "nbd", "the driver is installed and not loaded; attach loads it", ""};
    }
    const Status answers = nbd::kernel_driver_answers();
    if (!answers) return {Health::warn, "nbd", answers.error().message, ""};
    return {Health::ok, "nbd", "works", ""};
}

bool may_add_as_user() {
    const UsersFacts facts = users_facts();
    return !facts.administrator && facts.permitted && facts.supported.value_or(true);
}

// What `--transport auto` comes to, without loading anything.
Finding check_attach() {
    const bool root = ::geteuid() == 0;
    const bool ublk = path_exists("/dev/ublk-control") || has_driver("ublk_drv");
    if ((root && ublk) || may_add_as_user()) {
        return {Health::ok, "attach", "makes /dev/ublkbN", ""};
    }
    if (root && has_driver("nbd")) return {Health::ok, "attach", "makes /dev/nbdN", ""};
    return {Health::warn, "attach", "serves a socket, for NBD clients: no block device",
            root ? "boot a kernel with the ublk or the nbd driver" : "run ringloop with sudo"};
}

Finding check_privileges() {
    if (::geteuid() == 0) return {Health::ok, "privileges", "root", ""};
    if (may_add_as_user()) {
        return {Health::ok, "privileges", "not root: ublk devices for this user alone", ""};
    }
    return {Health::warn, "privileges",
            "not root: images are served by sockets; the kernel lets only root add block devices",
            "run ringloop with sudo"};
}

Finding check_memlock() {
    rlimit limit{};
    ::getrlimit(RLIMIT_MEMLOCK, &limit);
    if (::geteuid() == 0 || limit.rlim_cur == RLIM_INFINITY) {
        return {Health::ok, "memory lock", "a server can stay in memory", ""};
    }
    return {Health::warn, "memory lock",
            fmt::format("limited to {} KiB, so a server may be swapped out", limit.rlim_cur / kib),
            "run as root, or set LimitMEMLOCK=infinity (ulimit -l unlimited)"};
}

// What --sandbox comes to.
Finding check_sandbox() {
    std::string missing;
    const auto add = [&missing](const char* part, const Error& error) {
        missing += fmt::format("{}{}: {}", missing.empty() ? "" : "; ", part, error.message);
    };
    const auto landlock = landlock_version();
    if (!landlock) add("landlock", landlock.error());
    const Status seccomp = system_call_filter_available();
    if (!seccomp) add("seccomp", seccomp.error());
    if (missing.empty()) {
        return {Health::ok, "sandbox",
                fmt::format("complete: landlock version {}, filtered system calls", *landlock), ""};
    }
    return {Health::warn, "sandbox", "not complete: " + missing,
            "servers do without, and status says so; boot a kernel that has it"};
}

// What Hierarchies looks for, with the words for people: it says no more than that there is one.
CgroupFacts cgroup_facts() {
    CgroupFacts facts;
    const auto text = read_text("/proc/self/mountinfo");
    for (const Mount& mount : parse_mountinfo(text.value_or(""))) {
        const std::string options = "," + mount.options + ",";
        if (mount.type == "cgroup2") {
            facts.v2 = true;
            facts.v2_controllers = read_line(mount.mount_point + "/cgroup.controllers");
        }
        if (mount.type != "cgroup") continue;
        facts.blkio_v1 |= options.contains(",blkio,");
        facts.memory_v1 |= options.contains(",memory,");
    }
    const auto hierarchies = cgroup::Hierarchies::open();
    if (!hierarchies) facts.error = hierarchies.error().message;
    facts.root = ::geteuid() == 0;
    return facts;
}

Finding check_cgroup() { return cgroup_finding(cgroup_facts()); }
Finding check_lanes() { return lanes_finding(cgroup_facts()); }

// Tries it: privileges, lockdown, the kernel's types and libraries each may be in the way.
Finding check_issuers() {
    const Status available = cgroup::issuers_available();
    if (available) return {Health::ok, "issuers", "known: the cgroup of each ublk request", ""};
    return {Health::warn, "issuers",
            "the cgroup of a ublk request cannot be known: " + available.error().message, ""};
}

Finding check_runtime_directory() {
    const auto directory = RuntimeDir::open();
    if (!directory) return {Health::fail, "runtime directory", directory.error().message, ""};
    return {Health::ok, "runtime directory", directory->path(), ""};
}

}  // namespace

std::optional<std::string> known_defect(std::string_view release) {
    const Version version = version_of(release);
    if (version == Version{6, 18, 4} || version == Version{6, 18, 5} ||
        release == "6.17.0-1015-azure" || release == "6.17.0-1017-aws" ||
        release == "6.17.0-1018-azure") {
        return "adding a ublk device crashes (fixed in 6.18.6)";
    }
    if (version == Version{6, 18, 40} ||
        (version >= Version{7, 0, 0} && version <= Version{7, 0, 14})) {
        return "io_uring may lose a command, so attach and detach may time out";
    }
    if (version == Version{6, 17, 0}) return "a killed ublk server may stay in state D for ever";
    return std::nullopt;
}

Finding cgroup_finding(const CgroupFacts& facts) {
    if (!facts.error.empty()) {
        return {Health::warn, "cgroup", facts.error, "--charge off is all there is until then"};
    }
    std::string found;
    if (facts.v2) found = "version 2: " + facts.v2_controllers;
    if (facts.v2 && facts.v2_controllers.empty()) found = "version 2 without controllers";
    std::string v1 = facts.blkio_v1 ? "blkio" : "";
    if (facts.memory_v1) v1 += v1.empty() ? "memory" : " memory";
    if (!v1.empty()) found += (found.empty() ? "" : "; ") + ("version 1: " + v1);
    return {Health::ok, "cgroup", found, ""};
}

Finding users_finding(const UsersFacts& facts) {
    constexpr const char* topic = "ublk users";
    if (!facts.loaded) return {Health::ok, topic, "none: the ublk driver is not loaded", ""};
    if (facts.supported == false) {
        return {Health::ok, topic, "root alone can have ublk devices on this kernel (before 6.3)",
                ""};
    }
    if (facts.administrator) {
        return {Health::ok, topic,
                facts.open_to_users
                    ? "/dev/ublk-control is open to others than root, who can have devices"
                    : "/dev/ublk-control is root's alone; ringloop(1) says how it is opened",
                ""};
    }
    if (facts.permitted) return {Health::ok, topic, "this user can have ublk devices", ""};
    return {Health::warn, topic, "/dev/ublk-control is not open to this user",
            "ringloop(1), WITHOUT ROOT, says how root opens it; sockets need none of it"};
}

Finding lanes_finding(const CgroupFacts& facts) {
    if (!facts.error.empty()) {
        return {Health::warn, "lanes", "no cgroups, so nobody but the server can be charged",
                "mount -t cgroup2 none /sys/fs/cgroup"};
    }
    const auto has_v2 = [&facts](std::string_view controller) {
        return facts.v2 &&
               (" " + facts.v2_controllers + " ").contains(fmt::format(" {} ", controller));
    };
    const bool io = facts.blkio_v1 || has_v2("io");
    const bool memory = facts.memory_v1 || has_v2("memory");
    if (!io || !memory) {
        return {Health::warn, "lanes",
                fmt::format("{} cannot be charged here: no controller for it was found",
                            io       ? "memory"
                            : memory ? "I/O"
                                     : "I/O and memory"),
                "boot without cgroup_disable=, or with cgroup_enable=memory; in a container have "
                "the controllers delegated (systemd: Delegate=yes)"};
    }
    if (!facts.root) {
        return {Health::warn, "lanes",
                "I/O can be charged to those cgroups only that this user may start processes in",
                "run ringloop with sudo, or delegate cgroups to the user (systemd: Delegate=yes)"};
    }
    return {Health::ok, "lanes",
            fmt::format("I/O and memory can be charged to other cgroups ({})",
                        facts.blkio_v1 ? "version 1" : "version 2"),
            ""};
}

Diagnosis diagnose() {
    Diagnosis diagnosis;
    diagnosis.findings = {check_kernel(),
                          check_privileges(),
                          check_uring(),
                          check_ublk(),
                          check_users(),
                          check_nbd(),
                          check_attach(),
                          check_memlock(),
                          check_sandbox(),
                          check_cgroup(),
                          check_lanes(),
                          check_issuers(),
                          check_runtime_directory()};
    diagnosis.usable = true;
    for (const Finding& finding : diagnosis.findings) {
        if (finding.health == Health::fail) diagnosis.usable = false;
    }
    return diagnosis;
}

const char* to_text(Health health) {
    switch (health) {
        case Health::ok: return "ok";
        case Health::warn: return "warn";
        case Health::fail: return "fail";
    }
    return "fail";
}

}  // namespace ringloop::control
