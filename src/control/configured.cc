#include "control/configured.h"

#include "control/detach.h"
#include "control/files.h"
#include "control/transport.h"

namespace ringloop::control {
namespace {

// By path, as far as there is one: the image may have been removed or replaced meanwhile.
bool is_same_image(const DeviceState& state, const std::string& image) {
    if (state.backing_file == image) return true;
    const auto path = real_path(image);
    return path && (*path == state.backing_file || path == real_path(state.backing_file));
}

Status check_image(const DeviceState& state, const DeviceOptions& options) {
    if (is_same_image(state, options.image)) return {};
    return fail(EEXIST, "'{}' is {} of another image, {}; ringloop detach {} ends it", options.name,
                state.device, state.backing_file, options.name);
}

}  // namespace

Result<Configured> find_configured(const RuntimeDir& directory, const DeviceOptions& options) {
    auto state = directory.read_state(options.name);
    if (!state && state.error().number == ENOENT) return Configured{};
    if (!state) return fail(EEXIST, "{}; remove this file", state.error().message);
    if (directory.is_locked(options.name)) {
        TRY(check_image(*state, options));
        return Configured{Standing::attached, std::move(*state)};
    }
    const auto remains = remains_of(*state);
    if (!remains) return std::unexpected(remains.error());
    if (*remains == Remains::none) return Configured{};
    TRY(check_image(*state, options));
    if (*remains == Remains::recoverable) return Configured{Standing::dead, std::move(*state)};
    // It never became usable, so nobody uses it.
    TRY(detach(directory, {.state = std::move(*state), .served = false}, {}));
    return Configured{};
}

std::string unit_of(const DeviceState& state) {
    return unit_in(read_line(fmt::format("/proc/{}/cgroup", state.pid)));
}

// A person's shell may be in a unit, too, but not in one of ours.
std::string unit_in(std::string_view cgroup_line) {
    const std::size_t begin = cgroup_line.find("/ringloop@");
    if (begin == std::string_view::npos) return "";
    const std::string_view unit = cgroup_line.substr(begin + 1);
    return std::string(unit.substr(0, unit.find('/')));
}

}  // namespace ringloop::control
