#include "control/set.h"

#include <fcntl.h>

#include <cerrno>
#include <cstdlib>

#include "base/unique_fd.h"
#include "cli/background.h"
#include "cli/live_change.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "control/devices.h"
#include "control/overlap.h"
#include "control/resize.h"

namespace ringloop::cli {
namespace {

using nlohmann::json;

bool is_about_dispatching(const json& answer) {
    return has(answer, "policy", json::value_t::string) &&
           has(answer, "previous_policy", json::value_t::string) &&
           has(answer, "workers", json::value_t::number_unsigned) &&
           has(answer, "previous_workers", json::value_t::number_unsigned);
}

std::string dispatching_text(const json& answer, const std::string& device) {
    const control::Dispatched dispatched = {
        .policy = answer["policy"].get<std::string>(),
        .workers = answer["workers"].get<u32>(),
        .previous_policy = answer["previous_policy"].get<std::string>(),
        .previous_workers = answer["previous_workers"].get<u32>()};
    return control::to_text(dispatched, device);
}

// The server has let go of other people's mounts, so a path may mean nothing to it.
Result<UniqueFd> look_up(std::string& path) {
    UniqueFd fd(::open(path.c_str(), O_PATH | O_CLOEXEC));
    if (!fd) {
        return fail_errno(errno, "{}: cannot be looked up, and the device keeps the image it has",
                          one_line(path));
    }
    char* resolved = ::realpath(path.c_str(), nullptr);
    if (!resolved) return fail_errno(errno, "{}: has no absolute path", one_line(path));
    path = resolved;
    std::free(resolved);
    return fd;
}

Status check_not_in_itself(const std::string& target, const std::string& image) {
    const auto directory = control::RuntimeDir::open();
    if (!directory) return std::unexpected(directory.error());
    const auto device = control::find_device(*directory, target);
    if (!device) return std::unexpected(device.error());
    return control::check_nesting(*directory, image, device->state.device);
}

std::string size_text(const json& answer, const std::string& device) {
    if (!has(answer, "size_bytes", json::value_t::number_unsigned) ||
        !has(answer, "previous_size_bytes", json::value_t::number_unsigned)) {
        return "";
    }
    const control::Resized resized = {.size_bytes = answer["size_bytes"].get<u64>(),
                                      .previous_bytes = answer["previous_size_bytes"].get<u64>()};
    return control::to_text(resized, device) + "\n";
}

}  // namespace

int run(const Set& command) {
    control::Change wanted = command.change;
    UniqueFd image;
    if (!wanted.image.backing_file.empty()) {
        auto found = look_up(wanted.image.backing_file);
        if (!found) return report(found.error());
        image = std::move(*found);
        const Status nested = check_not_in_itself(command.target, wanted.image.backing_file);
        if (!nested) return report(nested.error());
    }
    const auto change = change_live(command.target, control::to_question(wanted), image.get());
    if (!change) return report(change.error());
    const json& answer = change->answer;
    const std::string& device = change->state.device;
    if (!is_about_dispatching(answer)) {
        return report(
            {EIO,
             device + ": its server answers something else than a policy; see ringloop upgrade"});
    }
    const auto lanes = control::lanes_changed_in(answer, command.change);
    if (!lanes) {
        return report({EIO, device +
                                ": its server is older than lanes; detach it and attach the image "
                                "again"});
    }
    std::string text = control::image_text(answer, device);
    if (command.change.resize) text += size_text(answer, device);
    text += control::on_error_text(answer, device) + control::upkeep_text(answer, device);
    const bool beyond_dispatching = command.change.image.any() || command.change.resize ||
                                    command.change.on_error.any() || command.change.upkeep.any();
    if (text.empty() && beyond_dispatching) {
        return report({EIO, device +
                                ": its server is older than this change; detach it and attach the "
                                "image again"});
    }
    print_warnings(answer);
    if (command.json) {
        return print_line(control::dump_json(answer, true)) ? exit_done : exit_failed;
    }
    if (command.change.dispatching != control::DispatchChange{}) {
        text += dispatching_text(answer, device) + "\n";
    }
    if (command.change.of_lanes()) text += control::to_text(*lanes, device) + "\n";
    text.pop_back();
    return print_line(text + pause_text(answer, device)) ? exit_done : exit_failed;
}

}  // namespace ringloop::cli
