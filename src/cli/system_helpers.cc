// What udev and systemd call: hidden verbs that tell them what state files and the files of
// /etc/ringloop say. Nobody waits for a server here.
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <cerrno>
#include <cstdio>
#include <nlohmann/json.hpp>

#include "cli/background.h"
#include "cli/config.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "control/config_file.h"
#include "control/runtime_dir.h"
#include "control/transport.h"
#include "control/ublk_transport.h"

namespace ringloop::cli {
namespace {

bool is_plain_in_link(char c) {
    constexpr std::string_view marks = "#+-.:=@_";
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           marks.find(c) != std::string_view::npos;
}

// As udev encodes what becomes the name of a link: '/' is "\x2f".
std::string encoded(std::string_view text) {
    std::string link;
    for (const char c : text) {
        if (is_plain_in_link(c)) {
            link.push_back(c);
        } else {
            link += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
        }
    }
    return link;
}

std::string properties_of(const control::DeviceState& state) {
    std::string text = "RINGLOOP_NAME=" + state.name;
    struct stat status{};
    if (::stat(state.backing_file.c_str(), &status) == 0) {
        text += fmt::format("\nID_LOOP_BACKING_DEVICE={}:{}\nID_LOOP_BACKING_INODE={}",
                            major(status.st_dev), minor(status.st_dev), status.st_ino);
    }
    const nlohmann::json object = control::to_json(state, "");
    if (const auto found = object.find("ref"); found != object.end() && found->is_string()) {
        text += "\nID_LOOP_BACKING_FILENAME_ENC=" + encoded(found->get<std::string>());
    }
    return text;
}

// A word in double quotes, as unit files have it.
std::string as_word(std::string_view path) {
    std::string word = "\"";
    for (const char c : path) {
        if (c == '"' || c == '\\') word.push_back('\\');
        if (c == '%') word.push_back('%');
        word.push_back(c);
    }
    return word + "\"";
}

Status write_drop_in(const std::string& folder, const control::DeviceOptions& options) {
    const std::string unit = fmt::format("{}/ringloop@{}.service.d", folder, options.name);
    if (::mkdir(unit.c_str(), 0755) != 0 && errno != EEXIST) return fail_errno(errno, "{}", unit);
    const std::string path = unit + "/50-image.conf";
    std::FILE* file = std::fopen(path.c_str(), "we");
    if (!file) return fail_errno(errno, "{}", path);
    fmt::print(file, "[Unit]\nRequiresMountsFor={}\n", as_word(options.image));
    if (std::fclose(file) != 0) return fail_errno(errno, "{}", path);
    return {};
}

}  // namespace

// The name of a disk, or of a ublk device's other node, without /dev. Of root's own disks the links
// are said, of the nodes of an ordinary user's ublk device whose they are, of others nothing.
int run(const UdevProperties& command) {
    std::string disk = command.device;
    if (disk.starts_with("ublkc")) disk.replace(0, 5, "ublkb");
    const auto directory = control::RuntimeDir::open();
    if (!directory) return report(directory.error());
    const auto names = directory->names();
    if (!names) return report(names.error());
    for (const std::string& name : *names) {
        const auto state = directory->read_state(name);
        if (!state || state->device != "/dev/" + disk) continue;
        // A state file may outlive its device.
        if (!directory->is_locked(name) && !control::may_remain(*state)) continue;
        if (disk != command.device) return exit_done;
        return print_line(properties_of(*state)) ? exit_done : exit_failed;
    }
    const auto user = control::user_of_ublk_device(disk);
    if (!user) return exit_done;
    const std::string owner =
        fmt::format("RINGLOOP_OWNER={}\nRINGLOOP_GROUP={}", user->uid, user->gid);
    return print_line(owner) ? exit_done : exit_failed;
}

// A file that cannot be read costs its own device the drop-in, and no other.
int run(const SystemdGenerator& command) {
    const std::string directory = control::config_directory("");
    const auto names = control::config_names(directory);
    if (!names) return names.error().number == ENOENT ? exit_done : report(names.error());
    int code = exit_done;
    for (const std::string& name : *names) {
        const auto options = configured_options(directory, name);
        const Status written =
            options ? write_drop_in(command.folder, *options) : std::unexpected(options.error());
        if (!written) code = report(written.error());
    }
    return code;
}

}  // namespace ringloop::cli
