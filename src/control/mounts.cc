#include "control/mounts.h"

#include <algorithm>
#include <array>
#include <ranges>

namespace ringloop::control {
namespace {

constexpr std::array<std::string_view, 4> kept_trees = {"/proc", "/sys", "/dev", "/run"};
constexpr std::array<std::string_view, 19> virtual_types = {
    "autofs", "binfmt_misc", "bpf",        "cgroup",  "cgroup2",   "configfs", "debugfs",
    "devpts", "devtmpfs",    "efivarfs",   "fusectl", "hugetlbfs", "mqueue",   "proc",
    "pstore", "ramfs",       "securityfs", "sysfs",   "tmpfs"};

bool is_kept(const Mount& mount) {
    if (mount.mount_point == "/") return true;
    const bool below = std::ranges::any_of(kept_trees, [&](std::string_view tree) {
        return mount.mount_point == tree || mount.mount_point.starts_with(std::string(tree) + "/");
    });
    return below && std::ranges::find(virtual_types, mount.type) != virtual_types.end();
}

}  // namespace

std::vector<std::string> mounts_to_detach(std::span<const Mount> mounts) {
    std::vector<std::string> paths;
    // The table lists a mount after the one that it stands on.
    for (const Mount& mount : std::views::reverse(mounts)) {
        if (!is_kept(mount)) paths.push_back(mount.mount_point);
    }
    return paths;
}

}  // namespace ringloop::control
