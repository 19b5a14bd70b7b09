#include "cli/losetup_arguments.h"

#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <nlohmann/json.hpp>

#include "base/say.h"
#include "base/unique_fd.h"
#include "cli/background.h"
#include "cli/live_change.h"
#include "cli/losetup_table.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "control/detach.h"
#include "control/devices.h"
#include "control/files.h"
#include "control/transport.h"
#include "version.h"

namespace ringloop::cli {
namespace {

using control::DeviceOptions;
using control::DeviceState;
using control::KnownDevice;
using nlohmann::json;

constexpr int done = 0;
constexpr int failed = 1;
constexpr u64 sector_bytes = 512;

constexpr const char* help_text = R"(
Usage:
 losetup [options] [<device>]
 losetup [options] -f | <device> <file>

Set up and control the block devices of ringloop in losetup's words.

Options:
 -a, --all                     list all used devices
 -d, --detach <device>...      detach one or more devices
 -D, --detach-all              detach all used devices
 -f, --find                    find first unused device
 -c, --set-capacity <device>   resize the device
 -j, --associated <file>       list all devices associated with <file>
 -L, --nooverlap               use a device that <file> has, and none beside it
 -o, --offset <num>            start at offset <num> into file
     --sizelimit <num>         device is limited to <num> bytes of the file
 -b, --sector-size <num>       set the logical sector size to <num>
 -P, --partscan                nodes for the partitions, too
 -r, --read-only               set up a read-only device
     --direct-io[=<on|off>]    open backing file with O_DIRECT
     --loop-ref <string>       what the device is for
     --show                    print device name after setup (with -f)
     --remove <device>         always fails: an unused device does not exist
 -v, --verbose                 accepted
 -J, --json                    use JSON --list output format
 -l, --list                    list info about all or specified (default)
 -n, --noheadings              don't print headings for --list output
 -O, --output <cols>           specify columns to output for --list
     --output-all              output all columns
     --raw                     use raw --list output format
 -h, --help                    display this help
 -V, --version                 display version

Columns: NAME, AUTOCLEAR, BACK-FILE, BACK-INO, BACK-MAJ:MIN, MAJ:MIN, OFFSET,
         PARTSCAN, RO, SIZELIMIT, DIO, LOG-SEC, REF

For more details see ringloop-losetup(8).
)";

// What the kernel would have called it.
std::string reason_of(int number) { return std::strerror(number); }

std::string with_folder(const std::string& device) {
    return device.find('/') == std::string::npos ? "/dev/" + device : device;
}

// Sockets are not for losetup's readers: a name is a path below /dev.
Result<std::vector<KnownDevice>> block_devices(const control::RuntimeDir& directory) {
    auto known = control::known_devices(directory);
    if (!known) return std::unexpected(std::move(known).error());
    std::erase_if(known->devices, [](const KnownDevice& device) {
        return device.state.transport == control::TransportChoice::socket;
    });
    return std::move(known->devices);
}

Result<KnownDevice> device_called(const control::RuntimeDir& directory, const std::string& name) {
    auto devices = block_devices(directory);
    if (!devices) return std::unexpected(std::move(devices).error());
    for (KnownDevice& device : *devices) {
        if (device.state.device == with_folder(name)) return std::move(device);
    }
    return fail(ENODEV, "{}: failed to use device: {}", name, reason_of(ENODEV));
}

// As losetup tells a loop device without an image from something else.
Error unknown_device(const std::string& name, std::string_view what) {
    if (!control::transport_of_device(with_folder(name))) {
        return {ENODEV, fmt::format("{}: failed to use device: {}", name, reason_of(ENODEV))};
    }
    return {ENXIO, fmt::format("{}: {} failed: {}", name, what, reason_of(ENXIO))};
}

bool same_file(const std::string& path, const std::string& other) {
    struct stat one{}, two{};
    if (::stat(path.c_str(), &one) != 0 || ::stat(other.c_str(), &two) != 0) return false;
    return one.st_dev == two.st_dev && one.st_ino == two.st_ino;
}

int print_devices(const LosetupCommand& command, const std::vector<KnownDevice>& devices) {
    if (command.table) {
        // Without a device there are no headings either; JSON is a list all the same.
        if (devices.empty() && !command.json) return done;
        const Status printed = print_losetup_table(command, devices);
        return printed ? done : losetup_fails(printed.error().message);
    }
    for (const KnownDevice& device : devices) {
        if (!print_line(one_line(losetup_line(device.state)))) return failed;
    }
    return done;
}

int list(const control::RuntimeDir& directory, const LosetupCommand& command) {
    if (!command.devices.empty()) {
        const auto device = device_called(directory, command.devices[0]);
        if (!device) return losetup_fails(device.error().message);
        return print_devices(command, {*device});
    }
    auto devices = block_devices(directory);
    if (!devices) return losetup_fails(devices.error().message);
    if (!command.file.empty()) {
        std::erase_if(*devices, [&command](const KnownDevice& device) {
            return !same_file(device.state.backing_file, command.file) ||
                   (command.has_offset && device.state.offset_bytes != command.offset_bytes);
        });
    }
    return print_devices(command, *devices);
}

int set_up_fails(const std::string& file, const std::string& why) {
    return losetup_fails(fmt::format("{}: failed to set up loop device: {}", file, why));
}

void print_size_warning(const std::string& file, u64 image_bytes) {
    if (image_bytes % sector_bytes == 0) return;
    say(fmt::format(
        "losetup: {}: Warning: file does not fit into a 512-byte sector; the end of the "
        "file will be ignored.\n",
        one_line(file)));
}

DeviceOptions options_of(const LosetupCommand& command) {
    DeviceOptions options;
    options.image = command.file;
    options.offset_bytes = command.offset_bytes;
    options.sizelimit_bytes = command.sizelimit_bytes;
    options.sector_size_bytes = command.sector_size_bytes;
    options.partscan = command.partscan;
    options.ref = command.ref;
    options.allow_overlap = true;  // as losetup does; -L is looked at before
    if (command.direct_io) {
        options.direct_io = *command.direct_io ? backing::DirectIo::on : backing::DirectIo::off;
    }
    // An image that cannot be written becomes a read-only device, as losetup makes it.
    options.read_only = command.read_only || ::access(command.file.c_str(), W_OK) != 0;
    if (!command.devices.empty()) options.device = with_folder(command.devices[0]);
    return options;
}

int attach(const control::RuntimeDir& directory, const LosetupCommand& command) {
    struct stat status{};
    if (!command.devices.empty() && device_called(directory, command.devices[0])) {
        return set_up_fails(command.file, reason_of(EBUSY));
    }
    if (::stat(command.file.c_str(), &status) != 0) {
        return set_up_fails(command.file, reason_of(errno));
    }
    if (S_ISDIR(status.st_mode)) return set_up_fails(command.file, reason_of(EISDIR));
    const DeviceOptions options = options_of(command);
    if (const Status checked = control::check_options(options); !checked) {
        return set_up_fails(command.file, checked.error().message);
    }
    // Its scripts expect a block device, so a host without a driver for one is an error.
    const Result<std::string> device =
        options.device.empty() ? control::first_free_device() : options.device;
    if (!device) return set_up_fails(command.file, device.error().message);
    const auto line =
        control::spawn_server(control::serve_arguments(options), control::WhenInterrupted::stop);
    if (!line) return set_up_fails(command.file, line.error().message);
    const auto told = control::parse_json(*line);
    if (!told || !told->is_object() || !has(*told, "device", json::value_t::string)) {
        return set_up_fails(command.file, "the server said something else than its device");
    }
    if (S_ISREG(status.st_mode)) print_size_warning(command.file, static_cast<u64>(status.st_size));
    if (!command.show) return done;
    return print_line((*told)["device"].get<std::string>()) ? done : failed;
}

// The part of the image that a device is, or shall be.
struct Part {
    u64 begin = 0;
    u64 end = 0;  // exclusive
    static Part of(u64 offset, u64 limit) {
        return {offset, limit == 0 ? ~u64{0} : offset + std::min(limit, ~u64{0} - offset)};
    }
    bool overlaps(const Part& other) const { return begin < other.end && other.begin < end; }
};

// --nooverlap, under a lock, so that of two that ask for the same at once one makes the device and
// the other gets it. nullopt: there is none yet.
std::optional<int> use_existing(const control::RuntimeDir& directory,
                                const LosetupCommand& command) {
    const auto devices = block_devices(directory);
    if (!devices) return losetup_fails(devices.error().message);
    const Part wanted = Part::of(command.offset_bytes, command.sizelimit_bytes);
    for (const KnownDevice& known : *devices) {
        const DeviceState& state = known.state;
        if (!same_file(state.backing_file, command.file)) continue;
        if (!wanted.overlaps(Part::of(state.offset_bytes, state.sizelimit_bytes))) continue;
        const bool same = state.offset_bytes == command.offset_bytes &&
                          state.sizelimit_bytes == command.sizelimit_bytes &&
                          (state.read_only || !command.read_only);
        if (!same || !known.served) {
            return losetup_fails(fmt::format("{}: overlapping loop device exists", command.file));
        }
        if (!command.devices.empty() && with_folder(command.devices[0]) != state.device) {
            return losetup_fails(fmt::format("{}: overlapping loop device exists", command.file));
        }
        if (!command.show) return done;
        return print_line(state.device) ? done : failed;
    }
    return std::nullopt;
}

int set_up(const control::RuntimeDir& directory, const LosetupCommand& command) {
    if (!command.no_overlap) return attach(directory, command);
    const UniqueFd lock(::open(directory.path().c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!lock || ::flock(lock.get(), LOCK_EX) != 0) {
        return set_up_fails(command.file,
                            fmt::format("{}: {}", directory.path(), reason_of(errno)));
    }
    if (const auto existing = use_existing(directory, command)) return *existing;
    return attach(directory, command);
}

int find(const control::RuntimeDir& directory, const LosetupCommand& command) {
    if (!command.file.empty()) return set_up(directory, command);
    const auto device = control::first_free_device();
    if (!device) {
        return losetup_fails("cannot find an unused loop device: " + device.error().message);
    }
    return print_line(*device) ? done : failed;
}

int detach_one(const control::RuntimeDir& directory, const std::string& name) {
    const auto device = device_called(directory, name);
    if (!device) return losetup_fails(unknown_device(name, "detach").message);
    const Status detached = control::detach(directory, *device, {});
    if (detached) return done;
    return losetup_fails(fmt::format("{}: detach failed: {}", name, detached.error().message));
}

int detach_all(const control::RuntimeDir& directory) {
    const auto devices = block_devices(directory);
    if (!devices) return losetup_fails(devices.error().message);
    int code = done;
    for (const KnownDevice& device : *devices) {
        if (detach_one(directory, device.state.device) != done) code = failed;
    }
    return code;
}

int change(const control::RuntimeDir& directory, const std::string& name, const json& question,
           std::string_view what) {
    const auto device = device_called(directory, name);
    if (!device) return losetup_fails(unknown_device(name, what).message);
    const auto changed = change_live(device->state.device, question);
    if (changed) return done;
    return losetup_fails(fmt::format("{}: {} failed: {}", name, what, changed.error().message));
}

int change_settings(const control::RuntimeDir& directory, const LosetupCommand& command) {
    const std::string& name = command.devices[0];
    const auto device = device_called(directory, name);
    if (!device) return losetup_fails(device.error().message);
    if (command.sector_size_bytes != 0 && command.sector_size_bytes != device->state.sector_size) {
        return losetup_fails(
            fmt::format("{}: set logical block size failed: it has sectors of {} bytes for as long "
                        "as it lives: detach it and attach the image with --sector-size",
                        name, device->state.sector_size));
    }
    if (!command.direct_io) return done;
    return change(directory, name,
                  {{"verb", "set"}, {"direct_io", *command.direct_io ? "on" : "off"}},
                  "set direct io");
}

// An unused device does not exist here.
int remove(const control::RuntimeDir& directory, const std::string& name) {
    const auto device = device_called(directory, name);
    if (!device) return losetup_fails(device.error().message);
    return losetup_fails(fmt::format("{}: remove failed: {}", name, reason_of(EBUSY)));
}

int act(const control::RuntimeDir& directory, const LosetupCommand& command) {
    using Action = LosetupCommand::Action;
    switch (command.action) {
        case Action::list: return list(directory, command);
        case Action::find: return find(directory, command);
        case Action::attach: return set_up(directory, command);
        case Action::detach: {
            int code = done;
            for (const std::string& name : command.devices) {
                if (detach_one(directory, name) != done) code = failed;
            }
            return code;
        }
        case Action::detach_all: return detach_all(directory);
        case Action::set_capacity:
            return change(directory, command.devices[0], {{"verb", "resize"}}, "set capacity");
        case Action::change: return change_settings(directory, command);
        case Action::remove: return remove(directory, command.devices[0]);
        case Action::help: return print_line(help_text) ? done : failed;
        case Action::version: {
            const bool printed = print_line("losetup from ringloop " + std::string(version));
            return printed ? done : failed;
        }
    }
    return failed;
}

}  // namespace

int run(const Losetup& command) {
    const auto parsed = parse_losetup(command.arguments);
    if (!parsed) return parsed.error();
    const auto directory = control::RuntimeDir::open();
    if (!directory) return losetup_fails(directory.error().message);
    return act(*directory, *parsed);
}

}  // namespace ringloop::cli
