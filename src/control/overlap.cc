#include "control/overlap.h"

#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <charconv>

#include "backing/image.h"
#include "control/devices.h"
#include "control/files.h"

namespace ringloop::control {
namespace {

bool is_number(std::string_view text) {
    return !text.empty() && std::ranges::all_of(text, [](char c) { return c >= '0' && c <= '9'; });
}

// "/dev/ublkb0" or a partition of it, "/dev/ublkb0p1".
bool lies_on(const std::string& node, const std::string& device) {
    if (!node.starts_with(device)) return false;
    const std::string_view rest = std::string_view(node).substr(device.size());
    return rest.empty() || (rest[0] == 'p' && is_number(rest.substr(1)));
}

// The image that the block device `node` is made of; "" where it is none of ours nor of the loop
// driver's.
std::string image_under(const KnownDevices& known, const std::string& node) {
    for (const KnownDevice& device : known.devices) {
        if (lies_on(node, device.state.device)) return device.state.backing_file;
    }
    constexpr std::string_view prefix = "/dev/loop";
    if (!node.starts_with(prefix)) return "";
    std::string disk = node.substr(std::string_view("/dev/").size());
    if (const auto part = disk.find('p', std::string_view("loop").size() + 1);
        part != std::string::npos) {
        disk.resize(part);
    }
    return read_line("/sys/block/" + disk + "/loop/backing_file");
}

std::vector<std::string> devices_with(const RuntimeDir& directory, const std::string& path) {
    std::vector<std::string> lines;
    const auto known = known_devices(directory);
    if (!known) return lines;
    for (const KnownDevice& device : known->devices) {
        if (real_path(device.state.backing_file) != path) continue;
        lines.push_back(fmt::format("{} (pid {})", device.state.device, device.state.pid));
    }
    return lines;
}

bool number_is(std::string_view text, u64 expected, int base) {
    u64 number = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), number, base);
    return error == std::errc{} && end == text.data() + text.size() && number == expected;
}

bool has_lock(const std::string& process, u32 major, u32 minor, u64 inode) {
    for (const std::string& number : entries_of(process + "/fdinfo")) {
        const std::string text = read_text(process + "/fdinfo/" + number).value_or("");
        for (std::size_t begin = 0; begin < text.size();) {
            const std::size_t end = std::min(text.find('\n', begin), text.size());
            const std::string_view line = std::string_view(text).substr(begin, end - begin);
            if (is_lock_of(line, major, minor, inode)) return true;
            begin = end + 1;
        }
    }
    return false;
}

}  // namespace

// "lock: 1: OFDLCK  ADVISORY  WRITE -1 fe:00:131 0 EOF": device in hexadecimal, inode in
// decimal.
bool is_lock_of(std::string_view line, u32 major, u32 minor, u64 inode) {
    if (!line.starts_with("lock:")) return false;
    const auto last_colon = [](std::string_view word) { return word.rfind(':'); };
    while (!line.empty()) {
        const std::size_t end = std::min(line.find_first_of(" \t"), line.size());
        const std::string_view word = line.substr(0, end);
        line.remove_prefix(std::min(end + 1, line.size()));
        const std::size_t second = last_colon(word);
        if (second == std::string_view::npos || second == 0) continue;
        const std::size_t first = last_colon(word.substr(0, second));
        if (first == std::string_view::npos) continue;
        return number_is(word.substr(0, first), major, 16) &&
               number_is(word.substr(first + 1, second - first - 1), minor, 16) &&
               number_is(word.substr(second + 1), inode, 10);
    }
    return false;
}

std::vector<std::string> lock_holders_of(const std::string& path) {
    std::vector<std::string> lines;
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0) return lines;
    for (const std::string& pid : entries_of("/proc")) {
        if (!is_number(pid)) continue;
        const std::string process = "/proc/" + pid;
        if (!has_lock(process, major(status.st_dev), minor(status.st_dev), status.st_ino)) continue;
        lines.push_back(fmt::format("pid {} ({})", pid, read_line(process + "/comm")));
    }
    return lines;
}

Status check_nesting(const RuntimeDir& directory, const std::string& image,
                     const std::string& own_device) {
    const auto known = known_devices(directory);
    if (!known) return std::unexpected(known.error());
    std::string path = image;
    for (u32 depth = 0;; ++depth) {
        const auto real = real_path(path);
        if (!real) return {};  // opening it tells why
        if (!own_device.empty() && lies_on(*real, own_device)) {
            return fail(ELOOP, "{}: lies in {}, which would lie in itself",
                        backing::printable(image), own_device);
        }
        path = image_under(*known, *real);
        if (path.empty()) return {};
        if (depth == nesting_max) {
            return fail(ELOOP, "{}: {} devices lie under it already; attach one of their images",
                        backing::printable(image), nesting_max);
        }
    }
}

Error in_use_by_others(const RuntimeDir& directory, const DeviceOptions& options) {
    const std::string path = real_path(options.image).value_or(options.image);
    auto who = devices_with(directory, path);
    if (who.empty()) who = lock_holders_of(path);
    std::string names;
    for (const std::string& line : who) names += (names.empty() ? "" : ", ") + line;
    if (names.empty()) names = "a process that this user may not see";
    return {EBUSY,
            fmt::format("{}: in use by {}; detach or end it{}, or give --allow-overlap if both may "
                        "have it",
                        backing::printable(options.image), names,
                        options.read_only ? "" : ", attach --read-only beside readers")};
}

}  // namespace ringloop::control
