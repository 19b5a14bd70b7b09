#include "frontend/ublk/control.h"

#include <fcntl.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <cerrno>
#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string_view>
#include <thread>

#include "base/assert.h"
#include "frontend/ublk/control_error.h"
#include "frontend/ublk/params.h"

namespace ringloop::ublk {

namespace wire = abi::ublk;

namespace {

using Clock = std::chrono::steady_clock;
using std::chrono::milliseconds;

// How long the kernel may take. Nothing here is quick by contract: every command runs on a worker
// thread of io_uring behind the driver's mutexes, and some kernels lose one (7.0.0 to 7.0.14).
constexpr u32 answer_ms = 10'000;  // takes a mutex, which ADD, DEL or a START may hold
constexpr u32 start_ms = 30'000;   // reads the partition table, through us, from the image
constexpr u32 stop_ms = 60'000;    // waits for the requests in flight: a retrying disk, a network
constexpr u32 remove_ms = 30'000;  // waits for whoever has the nodes open: udev, a probe
// The driver says EBUSY until the dead server's descriptors were released and its requests were
// taken back, which follows its death after as long as its own I/O takes to end.
constexpr milliseconds recovery_wait{30'000};
constexpr milliseconds recovery_pause{50};
// udev opens every node that appears, and /dev/ublkcN lets in one at a time.
constexpr milliseconds open_wait{2'000};
constexpr milliseconds open_pause{10};
// udev is told when the node is there already, and may have much else to do.
constexpr milliseconds given_wait{10'000};

constexpr u64 flags_wanted =
    wire::flag_user_recovery | wire::flag_user_recovery_reissue |
    // Completions by io_uring's own task work, which is what DEFER_TASKRUN waits for. Kernels
    // before 6.5 use the task's otherwise when the driver is built in.
    wire::flag_complete_in_task | wire::flag_ioctl_encode;

u32 page_size_bytes() { return static_cast<u32>(sysconf(_SC_PAGESIZE)); }

// Whether the module is installed for this kernel, loaded or not. depmod writes one line for each
// module, which begins with its file: "kernel/drivers/block/ublk_drv.ko:".
bool module_installed(std::string_view release) {
    const std::string path = fmt::format("/lib/modules/{}/modules.dep", release);
    std::FILE* file = std::fopen(path.c_str(), "re");
    if (!file) return false;
    char* line = nullptr;
    std::size_t size = 0;
    bool found = false;
    while (!found && getline(&line, &size, file) > 0) {
        const std::string_view text(line);
        found = text.substr(0, text.find(':')).find("/ublk_drv.ko") != std::string_view::npos;
    }
    std::free(line);  // NOLINT(cppcoreguidelines-no-malloc): getline's
    std::fclose(file);
    return found;
}

DeviceInfo info_from(const wire::DeviceInfo& device) {
    return {.id = device.device_id,
            .queues = device.queue_count,
            .depth = device.queue_depth,
            .io_bytes_max = device.io_bytes_max,
            .flags = device.flags,
            .state = device.state,
            .server_pid = device.server_pid};
}

// What a kernel may answer to a number that it does not know: 6.1 ENODEV, later ones EOPNOTSUPP.
// ENODEV and EINVAL have other causes too, so the other number decides.
bool may_be_unknown(i32 answer) {
    return answer == -EOPNOTSUPP || answer == -ENODEV || answer == -EINVAL || answer == -ENOTTY;
}

wire::Opcode opcode_of(Step step) {
    switch (step) {
        case Step::features: return wire::get_features;
        case Step::info: return wire::get_device_info;
        case Step::info2: return wire::get_device_info2;
        case Step::add: return wire::add_device;
        case Step::set_params: return wire::set_params;
        case Step::params: return wire::get_params;
        case Step::update_size: return wire::update_size;
        case Step::start: return wire::start_device;
        case Step::stop: return wire::stop_device;
        case Step::remove: return wire::delete_device;
        case Step::start_recovery: return wire::start_user_recovery;
        case Step::end_recovery: return wire::end_user_recovery;
    }
    return {};
}

u32 timeout_of(Step step) {
    switch (step) {
        case Step::features:
        case Step::info:
        case Step::info2:
        case Step::add:
        case Step::set_params:
        case Step::params:
        case Step::update_size:
        case Step::start_recovery: return answer_ms;
        case Step::start:
        case Step::end_recovery: return start_ms;
        case Step::stop: return stop_ms;
        case Step::remove: return remove_ms;
    }
    return answer_ms;
}

bool is_of_a_device(Step step) { return step != Step::features && step != Step::add; }

u64 server_pid() { return static_cast<u64>(getpid()); }

}  // namespace

Result<Control> Control::open(Caller caller) {
    UniqueFd fd(::open("/dev/ublk-control", O_RDWR | O_CLOEXEC));
    if (!fd) {
        const i32 number = errno;
        utsname name{};
        uname(&name);
        return std::unexpected(open_error(number, name.release, module_installed(name.release)));
    }
    auto ring = io::CommandRing::create();
    if (!ring) return std::unexpected(std::move(ring).error());
    return Control(std::move(fd), std::move(*ring), caller);
}

Control::Control(UniqueFd fd, io::CommandRing ring, Caller caller)
    : fd_(std::move(fd)),
      ring_(std::move(ring)),
      caller_(caller),
      payload_(std::make_unique<Payload>()) {}

Result<std::optional<u64>> Control::features() {
    u64 features = 0;
    auto answer =
        send_structure(Step::features, 0, std::as_writable_bytes(std::span(&features, 1)));
    if (!answer) return std::unexpected(std::move(answer).error());
    if (may_be_unknown(*answer)) return std::nullopt;
    if (*answer < 0) return std::unexpected(driver_error(Step::features, 0, -*answer));
    return features;
}

Status Control::may_add() {
    if (caller_ == Caller::administrator) return {};
    const auto known = features();
    if (!known) return std::unexpected(known.error());
    if ((known->value_or(wire::flag_unprivileged) & wire::flag_unprivileged) != 0) return {};
    return fail(EOPNOTSUPP,
                "the ublk driver of this kernel takes orders from root alone: run as root, or boot "
                "Linux 6.3 or later");
}

Result<DeviceInfo> Control::info(u32 id) {
    const Step step = caller_ == Caller::administrator ? Step::info : Step::info2;
    wire::DeviceInfo device;
    auto answer = send_structure(step, id, std::as_writable_bytes(std::span(&device, 1)));
    if (!answer) return std::unexpected(std::move(answer).error());
    if (*answer < 0) return std::unexpected(driver_error(step, id, -*answer));
    return info_from(device);
}

Result<std::optional<Owner>> Control::owner(u32 id) {
    wire::DeviceInfo device;
    auto answer = send_structure(Step::info2, id, std::as_writable_bytes(std::span(&device, 1)));
    if (!answer) return std::unexpected(std::move(answer).error());
    if (*answer < 0) return std::unexpected(driver_error(Step::info2, id, -*answer));
    if ((device.flags & wire::flag_unprivileged) == 0) return std::nullopt;
    return Owner{.uid = device.owner_uid, .gid = device.owner_gid};
}

Result<DeviceInfo> Control::add(const AddOptions& options) {
    if (options.queues == 0 || options.queues > wire::queues_max) {
        return fail(EINVAL, "{} queues: ublk takes 1 to {}", options.queues, wire::queues_max);
    }
    if (options.depth == 0 || options.depth > wire::depth_max) {
        return fail(EINVAL, "depth {}: ublk takes 1 to {}", options.depth, wire::depth_max);
    }
    if (options.io_bytes_max < page_size_bytes()) {
        return fail(EINVAL, "requests of at most {} bytes: ublk needs a page of {} at least",
                    options.io_bytes_max, page_size_bytes());
    }
    TRY(may_add());
    auto known = features();
    if (!known) return std::unexpected(std::move(known).error());
    const u64 wanted =
        flags_wanted | (caller_ == Caller::administrator ? 0 : wire::flag_unprivileged);

    // The driver insists that both places name the same device, all ones for any (6.17).
    wire::DeviceInfo device{
        .queue_count = static_cast<u16>(options.queues),
        .queue_depth = static_cast<u16>(options.depth),
        .io_bytes_max = options.io_bytes_max,
        .device_id = options.id < 0 ? wire::any_device : static_cast<u32>(options.id),
        // A kernel that cannot tell what it knows clears what it does not.
        .flags = wanted & known->value_or(wanted),
    };
    const u32 id = device.device_id;
    auto answer = send_structure(Step::add, id, std::as_writable_bytes(std::span(&device, 1)));
    if (!answer) return std::unexpected(std::move(answer).error());
    if (*answer < 0) return std::unexpected(driver_error(Step::add, id, -*answer));
    return info_from(device);
}

Status Control::set_params(const DeviceInfo& info, const backing::Geometry& geometry) {
    auto params = params_of(geometry, info.io_bytes_max, page_size_bytes());
    if (!params) return std::unexpected(std::move(params).error());
    auto answer =
        send_structure(Step::set_params, info.id, std::as_writable_bytes(std::span(&*params, 1)));
    if (!answer) return std::unexpected(std::move(answer).error());
    if (*answer < 0) return std::unexpected(driver_error(Step::set_params, info.id, -*answer));
    return {};
}

Result<wire::Params> Control::params(u32 id) {
    wire::Params params;
    auto answer = send_structure(Step::params, id, std::as_writable_bytes(std::span(&params, 1)));
    if (!answer) return std::unexpected(std::move(answer).error());
    if (*answer < 0) return std::unexpected(driver_error(Step::params, id, -*answer));
    return params;
}

// The driver looks at nothing: without a disk, which somebody else may have stopped, kernels that
// lack a later fix follow a null pointer.
Status Control::resize(u32 id, u64 size_bytes) {
    const auto device = info(id);
    if (!device) return std::unexpected(device.error());
    if (device->state != wire::state_live) {
        return fail(ENODEV, "ublk device {} has no disk any more: detach it", id);
    }
    return run(Step::update_size, id, size_bytes >> wire::sector_shift);
}

Status Control::start(u32 id) { return run(Step::start, id, server_pid()); }

Status Control::stop(u32 id) { return run(Step::stop, id, 0); }

Status Control::remove(u32 id) {
    Status status = run(Step::remove, id, 0);
    // Gone is what was asked for: an attempt that was interrupted, or given up, may have ended it.
    if (!status && status.error().number == ENODEV) return {};
    // So it is when the node that would tell whether a user may is gone.
    if (caller_ == Caller::user && !status && status.error().number == ENOENT) return {};
    return status;
}

Status Control::start_recovery(u32 id) {
    const Clock::time_point deadline = Clock::now() + recovery_wait;
    for (;;) {
        Status status = run(Step::start_recovery, id, 0);
        if (status || status.error().number != EBUSY || Clock::now() >= deadline) return status;
        std::this_thread::sleep_for(recovery_pause);
    }
}

Status Control::end_recovery(u32 id) { return run(Step::end_recovery, id, server_pid()); }

// Commands without a structure; the driver has nothing to say but yes or an errno.
Status Control::run(Step step, u32 id, u64 data) {
    auto answer = send_structure(step, id, {}, data);
    if (!answer) return std::unexpected(std::move(answer).error());
    if (*answer < 0) return std::unexpected(driver_error(step, id, -*answer));
    return {};
}

// Commands that read or fill a structure, or have none.
Result<i32> Control::send_structure(Step step, u32 id, std::span<std::byte> structure, u64 data) {
    // An administrator is asked for the node's path by GET_DEV_INFO2 alone.
    const bool by_path = step == Step::info2 || (caller_ == Caller::user && is_of_a_device(step));
    payload_->fill(by_path ? char_device_path(id) : "", structure);
    auto answer = send(step, payload_->header(id, data));
    if (answer) {
        payload_->read(structure);
    } else {
        // The kernel may still read or write there, whenever it wakes up: given up to it.
        [[maybe_unused]] const Payload* given_up = payload_.release();
        payload_ = std::make_unique<Payload>();
    }
    return answer;
}

// Finds out which numbers this kernel knows with the first command that gets through.
Result<i32> Control::send(Step step, const wire::ControlCommand& header) {
    const wire::Opcode opcode = opcode_of(step);
    if (numbers_ == Numbers::legacy && opcode.legacy == 0) return -EOPNOTSUPP;
    if (numbers_ == Numbers::legacy) return send_number(step, opcode.legacy, header);

    auto answer = send_number(step, opcode.encoded, header);
    if (!answer || numbers_ == Numbers::encoded) return answer;
    if (!may_be_unknown(*answer)) {
        numbers_ = Numbers::encoded;
        return answer;
    }
    if (opcode.legacy == 0) return answer;
    answer = send_number(step, opcode.legacy, header);
    if (answer && *answer >= 0) numbers_ = Numbers::legacy;
    return answer;
}

Result<i32> Control::send_number(Step step, u32 number, const wire::ControlCommand& header) {
    auto answer =
        ring_.run(fd_.get(), number, std::as_bytes(std::span(&header, 1)), timeout_of(step));
    if (!answer && answer.error().number == ETIME) {
        return std::unexpected(driver_error(step, header.device_id, ETIME));
    }
    return answer;
}

Status wait_until_given(u32 id) {
    const std::string path = char_device_path(id);
    const Clock::time_point deadline = Clock::now() + given_wait;
    while (::faccessat(AT_FDCWD, path.c_str(), R_OK | W_OK, AT_EACCESS) != 0) {
        const i32 number = errno;
        if (Clock::now() >= deadline) return std::unexpected(not_given_error(id, number));
        std::this_thread::sleep_for(open_pause);
    }
    return {};
}

Result<UniqueFd> open_char_device(u32 id) {
    const std::string path = char_device_path(id);
    const Clock::time_point deadline = Clock::now() + open_wait;
    for (;;) {
        UniqueFd fd(::open(path.c_str(), O_RDWR | O_CLOEXEC));
        if (fd) return fd;
        const i32 number = errno;
        const bool passes = number == EBUSY || number == ENOENT || number == EINTR;
        if (passes && Clock::now() < deadline) {
            std::this_thread::sleep_for(open_pause);
            continue;
        }
        if (number == EBUSY)
            return fail(number, "{}: another process serves this device; end that first", path);
        if (number == ENOENT) {
            return fail(number, "{}: the node did not appear: is /dev a devtmpfs?", path);
        }
        return fail_errno(number, "{}", path);
    }
}

std::string block_device_path(u32 id) { return fmt::format("/dev/ublkb{}", id); }

std::string char_device_path(u32 id) { return fmt::format("/dev/ublkc{}", id); }

std::optional<u32> id_of(const std::string& device) {
    std::string_view name = device;
    if (name.starts_with("/dev/")) name.remove_prefix(5);
    if (!name.starts_with("ublkb")) return std::nullopt;
    name.remove_prefix(5);
    // "ublkb01" is nobody's name, and "ublkb0p1" is a partition's.
    if (name.size() > 1 && name.front() == '0') return std::nullopt;
    u32 id = 0;
    const auto [end, error] = std::from_chars(name.data(), name.data() + name.size(), id);
    if (error != std::errc{} || end != name.data() + name.size()) return std::nullopt;
    return id;
}

}  // namespace ringloop::ublk
