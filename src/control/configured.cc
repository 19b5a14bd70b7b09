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

}  // namespace ringloop::control
