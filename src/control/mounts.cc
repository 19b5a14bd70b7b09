#include "control/mounts.h"

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <ranges>

namespace ringloop::control {
namespace {

constexpr std::array<std::string_view, 4> kept_trees = {"/proc", "/sys", "/dev", "/run"};
constexpr std::array<std::string_view, 19> virtual_types = {
    "autofs", "binfmt_misc", "bpf",        "cgroup",  "cgroup2",   "configfs", "debugfs",
    "devpts", "devtmpfs",    "efivarfs",   "fusectl", "hugetlbfs", "mqueue",   "proc",
    "pstore", "ramfs",       "securityfs", "sysfs",   "tmpfs"};

std::vector<std::string_view> words(std::string_view line) {
    std::vector<std::string_view> found;
    while (!line.empty()) {
        const std::size_t end = std::min(line.find(' '), line.size());
        if (end > 0) found.push_back(line.substr(0, end));
        line.remove_prefix(std::min(end + 1, line.size()));
    }
    return found;
}

std::optional<u32> number(std::string_view text) {
    u32 value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return value;
}

// Blanks and backslashes are written as \040, \011, \012, \134.
std::string unescape(std::string_view text) {
    std::string plain;
    for (std::size_t i = 0; i < text.size(); ++i) {
        u32 code = 0;
        const char* digits = text.data() + i + 1;
        if (text[i] == '\\' && text.size() - i > 3 &&
            std::from_chars(digits, digits + 3, code, 8).ptr == digits + 3) {
            plain.push_back(static_cast<char>(code));
            i += 3;
        } else {
            plain.push_back(text[i]);
        }
    }
    return plain;
}

std::optional<Mount> parse_line(std::string_view line) {
    const auto fields = words(line);
    const auto separator = std::ranges::find(fields, "-");
    if (fields.size() < 6 || fields.end() - separator < 3) return std::nullopt;
    const std::string_view device = fields[2];
    const std::size_t colon = device.find(':');
    if (colon == std::string_view::npos) return std::nullopt;
    const auto major = number(device.substr(0, colon));
    const auto minor = number(device.substr(colon + 1));
    if (!major || !minor) return std::nullopt;
    return Mount{*major, *minor, unescape(fields[4]), std::string(separator[1]),
                 unescape(separator[2])};
}

bool is_kept(const Mount& mount) {
    if (mount.mount_point == "/") return true;
    const bool below = std::ranges::any_of(kept_trees, [&](std::string_view tree) {
        return mount.mount_point == tree || mount.mount_point.starts_with(std::string(tree) + "/");
    });
    return below && std::ranges::find(virtual_types, mount.type) != virtual_types.end();
}

}  // namespace

std::vector<Mount> parse_mountinfo(std::string_view text) {
    std::vector<Mount> mounts;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        if (auto mount = parse_line(text.substr(0, end))) mounts.push_back(std::move(*mount));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return mounts;
}

std::vector<std::string> mounts_to_detach(std::span<const Mount> mounts) {
    std::vector<std::string> paths;
    // The table lists a mount after the one that it stands on.
    for (const Mount& mount : std::views::reverse(mounts)) {
        if (!is_kept(mount)) paths.push_back(mount.mount_point);
    }
    return paths;
}

}  // namespace ringloop::control
