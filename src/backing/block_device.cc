#include "backing/block_device.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/sysmacros.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <charconv>
#include <limits>
#include <string_view>
#include <utility>

#include "base/unique_fd.h"

namespace ringloop::backing {
namespace {

// The number that a sysfs attribute holds, or 0.
u64 read_number(int folder, const char* name) {
    const UniqueFd fd(openat(folder, name, O_RDONLY | O_CLOEXEC));
    if (!fd) return 0;
    char text[32];
    const ssize_t length = read(fd.get(), text, sizeof text);
    if (length <= 0) return 0;
    u64 number = 0;
    std::from_chars(text, text + length, number);
    return number;
}

u32 read_number_u32(int folder, const char* name) {
    const u64 number = read_number(folder, name);
    return std::in_range<u32>(number) ? static_cast<u32>(number) : 0;
}

UniqueFd open_queue(dev_t device, const std::string& sysfs) {
    const std::string folder =
        fmt::format("{}/dev/block/{}:{}", sysfs, major(device), minor(device));
    // Not O_PATH, which a server in its sandbox is refused.
    constexpr int flags = O_RDONLY | O_DIRECTORY | O_CLOEXEC;
    UniqueFd queue(open((folder + "/queue").c_str(), flags));
    if (queue) return queue;
    // A partition's folder lies in its disk's. Without the check, "..", of whatever folder, might
    // hold a queue that is somebody else's.
    if (access((folder + "/partition").c_str(), F_OK) != 0) return {};
    return UniqueFd(open((folder + "/../queue").c_str(), flags));
}

}  // namespace

QueueLimits read_queue_limits(dev_t device, const std::string& sysfs) {
    const UniqueFd queue = open_queue(device, sysfs);
    if (!queue) return {};
    const int folder = queue.get();
    return {
        .logical_block_bytes = read_number_u32(folder, "logical_block_size"),
        .physical_block_bytes = read_number_u32(folder, "physical_block_size"),
        .io_min_bytes = read_number_u32(folder, "minimum_io_size"),
        .io_optimal_bytes = read_number_u32(folder, "optimal_io_size"),
        .discard_granularity_bytes = read_number_u32(folder, "discard_granularity"),
        .discard_max_bytes = read_number(folder, "discard_max_bytes"),
        .write_zeroes_max_bytes = read_number(folder, "write_zeroes_max_bytes"),
        .rotational = read_number(folder, "rotational") != 0,
        .found = true,
    };
}

bool release_at_least(const std::string& release, u32 major, u32 minor) {
    const char* end = release.data() + release.size();
    std::pair<u32, u32> version = {0, 0};
    const auto first = std::from_chars(release.data(), end, version.first);
    if (first.ec != std::errc{}) return false;
    if (first.ptr != end && *first.ptr == '.') {
        std::from_chars(first.ptr + 1, end, version.second);
    }
    return version >= std::pair(major, minor);
}

bool kernel_has_discard_command() {
    utsname system = {};
    return uname(&system) == 0 && release_at_least(system.release, 6, 12);
}

}  // namespace ringloop::backing
