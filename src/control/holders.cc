#include "control/holders.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <optional>
#include <set>

#include "base/result.h"
#include "control/files.h"

namespace ringloop::control {
namespace {

// "259:1", as in /sys/block/X/dev.
std::optional<BlockNode> node_of(const std::string& name, const std::string& numbers) {
    BlockNode node{.name = name};
    const char* end = numbers.data() + numbers.size();
    const auto major = std::from_chars(numbers.data(), end, node.major);
    if (major.ec != std::errc{} || major.ptr == end || *major.ptr != ':') return std::nullopt;
    if (std::from_chars(major.ptr + 1, end, node.minor).ec != std::errc{}) return std::nullopt;
    return node;
}

std::string base_name(const std::string& path) { return path.substr(path.rfind('/') + 1); }

// " (ublkb0p1)" where it is not the whole disk that is held.
std::string part_of(std::span<const BlockNode> nodes, const BlockNode& node) {
    return &node == &nodes.front() ? "" : fmt::format(" ({})", node.name);
}

void add_stacked(std::span<const BlockNode> nodes, std::vector<std::string>& lines) {
    const std::string disk = "/sys/block/" + nodes.front().name;
    for (const BlockNode& node : nodes) {
        const bool whole = &node == &nodes.front();
        const std::string directory = whole ? disk : disk + "/" + node.name;
        for (const std::string& holder : entries_of(directory + "/holders")) {
            lines.push_back(fmt::format("used by {}{}", holder, part_of(nodes, node)));
        }
    }
    for (const std::string& block : entries_of("/sys/block")) {
        const std::string file = read_line("/sys/block/" + block + "/loop/backing_file");
        const auto backed = std::ranges::find_if(
            nodes, [&](const BlockNode& node) { return file == "/dev/" + node.name; });
        if (backed != nodes.end()) {
            lines.push_back(fmt::format("backs {}{}", block, part_of(nodes, *backed)));
        }
    }
}

// What a symbolic link says, or "" where there is none or we may not read it.
std::string link_of(const std::string& path) {
    std::array<char, 4096> target{};
    const ssize_t length = ::readlink(path.c_str(), target.data(), target.size());
    return {target.data(), length > 0 ? static_cast<std::size_t>(length) : 0};
}

// The node that /proc/PID/fd/N refers to. No synchronisation: it may be a file of a server that
// does not answer.
const BlockNode* opened_node(std::span<const BlockNode> nodes, const std::string& link) {
    struct statx status{};
    if (::statx(AT_FDCWD, link.c_str(), AT_STATX_DONT_SYNC, STATX_TYPE, &status) != 0 ||
        !S_ISBLK(status.stx_mode)) {
        return nullptr;
    }
    const auto found = std::ranges::find_if(nodes, [&](const BlockNode& node) {
        return node.major == status.stx_rdev_major && node.minor == status.stx_rdev_minor;
    });
    return found == nodes.end() ? nullptr : &*found;
}

// "flags: 0100002" in octal, of /proc/PID/fdinfo/N.
bool is_for_writing(const std::string& fdinfo) {
    constexpr std::string_view field = "flags:\t";
    const std::string text = read_text(fdinfo).value_or("");
    const std::size_t at = text.find(field);
    int flags = 0;
    if (at == std::string::npos) return true;
    std::from_chars(text.data() + at + field.size(), text.data() + text.size(), flags, 8);
    return (flags & O_ACCMODE) != O_RDONLY;
}

void add_open_files(std::span<const BlockNode> nodes, const std::string& pid, Holding holding,
                    std::vector<std::string>& lines) {
    const std::string process = "/proc/" + pid;
    for (const std::string& number : entries_of(process + "/fd")) {
        const BlockNode* node = opened_node(nodes, process + "/fd/" + number);
        if (!node) continue;
        if (holding == Holding::writing && !is_for_writing(process + "/fdinfo/" + number)) continue;
        const std::string line = fmt::format("pid {} ({}) has it open{}", pid,
                                             read_line(process + "/comm"), part_of(nodes, *node));
        if (std::ranges::find(lines, line) == lines.end()) lines.push_back(line);
    }
}

}  // namespace

std::vector<BlockNode> nodes_of(const std::string& device) {
    const std::string disk = base_name(device);
    const std::string directory = "/sys/block/" + disk;
    std::vector<BlockNode> nodes;
    if (!device.starts_with("/dev/")) return nodes;  // the URI of a server without a block device
    const auto whole = node_of(disk, read_line(directory + "/dev"));
    if (!whole) return nodes;
    nodes.push_back(*whole);
    for (const std::string& entry : entries_of(directory)) {
        if (!entry.starts_with(disk)) continue;
        if (auto part = node_of(entry, read_line(directory + "/" + entry + "/dev"))) {
            nodes.push_back(std::move(*part));
        }
    }
    return nodes;
}

std::vector<std::string> mount_holders(std::span<const BlockNode> nodes,
                                       std::span<const Mount> mounts) {
    std::vector<std::string> lines;
    for (const Mount& mount : mounts) {
        const auto held = std::ranges::find_if(nodes, [&](const BlockNode& node) {
            // btrfs and others show a device number of their own, but name their source.
            return (mount.major == node.major && mount.minor == node.minor) ||
                   mount.source == "/dev/" + node.name;
        });
        if (held == nodes.end()) continue;
        std::string line = fmt::format("mounted on {}{}", mount.mount_point, part_of(nodes, *held));
        if (std::ranges::find(lines, line) == lines.end()) lines.push_back(std::move(line));
    }
    return lines;
}

std::vector<std::string> swap_holders(std::span<const BlockNode> nodes, std::string_view swaps) {
    std::vector<std::string> lines;
    for (const BlockNode& node : nodes) {
        if (swaps.find("/dev/" + node.name + " ") == std::string_view::npos &&
            swaps.find("/dev/" + node.name + "\t") == std::string_view::npos) {
            continue;
        }
        lines.push_back("in use as swap" + part_of(nodes, node));
    }
    return lines;
}

std::vector<std::string> holders_of(const std::string& device, Holding holding, i32 besides) {
    std::vector<std::string> lines;
    const auto nodes = nodes_of(device);
    if (nodes.empty()) return lines;

    const std::string self = fmt::format("{}", ::getpid());
    const std::string other = fmt::format("{}", besides);
    std::set<std::string> tables_seen;  // one mount namespace has many processes
    for (const std::string& pid : entries_of("/proc")) {
        if (pid[0] < '0' || pid[0] > '9' || pid == self || pid == other) continue;
        const std::string process = "/proc/" + pid;
        // A thread of the kernel has neither files nor a program.
        if (link_of(process + "/exe").empty()) continue;
        if (tables_seen.insert(link_of(process + "/ns/mnt")).second) {
            auto mounts = parse_mountinfo(read_text(process + "/mountinfo").value_or(""));
            std::erase_if(mounts, [&](const Mount& mount) {
                return holding == Holding::writing && !mount.options.starts_with("rw");
            });
            for (std::string& line : mount_holders(nodes, mounts)) {
                if (std::ranges::find(lines, line) == lines.end()) lines.push_back(std::move(line));
            }
        }
        add_open_files(nodes, pid, holding, lines);
    }
    for (std::string& line : swap_holders(nodes, read_text("/proc/swaps").value_or(""))) {
        lines.push_back(std::move(line));
    }
    add_stacked(nodes, lines);
    return lines;
}

}  // namespace ringloop::control
