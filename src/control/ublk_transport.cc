#include "control/ublk_transport.h"

#include <sys/stat.h>

#include <chrono>

#include "abi/ublk.h"
#include "base/assert.h"
#include "base/log.h"
#include "control/block_node.h"
#include "control/files.h"
#include "control/harden.h"
#include "control/holders.h"
#include "control/kernel.h"
#include "control/wait.h"

namespace ringloop::control {
namespace {

constexpr u32 ids_tried_max = 4096;
// After STOP the driver has answered and cancelled everything; what remains is our own loops.
constexpr u64 queues_close_timeout_ms = 30'000;
constexpr std::chrono::milliseconds stop_again{500};

ublk::Caller caller() {
    return may_administer() ? ublk::Caller::administrator : ublk::Caller::user;
}

Result<ublk::Control> open_control() {
    // The loop driver loads itself when its node is opened; ublk's node exists only once the module
    // is loaded (a misc device with a dynamic minor).
    if (!path_exists("/dev/ublk-control")) load_module("ublk_drv");
    auto control = ublk::Control::open(caller());
    if (!control && control.error().number == ENOENT && !has_driver("ublk_drv")) {
        return fail(ENOENT,
                    "this kernel ({}) was built without the ublk driver: boot one that has it "
                    "(CONFIG_BLK_DEV_UBLK, Linux 6.0 or later; Debian 12: apt install "
                    "linux-image-6.12-amd64)",
                    kernel_release());
    }
    return control;
}

bool is_taken(u32 id) { return path_exists(fmt::format("/sys/class/ublk-char/ublkc{}", id)); }

// The driver would choose a free number too, but tell it only afterwards.
Result<ublk::DeviceInfo> add_announced(ublk::Control& control, const DeviceOptions& options,
                                       const Announce& announce) {
    const auto only = ublk::id_of(options.device);
    for (u32 id = only.value_or(0); id < (only ? *only + 1 : ids_tried_max); ++id) {
        if (is_taken(id)) continue;
        const Status announced = announce(ublk::block_device_path(id));
        if (!announced && announced.error().number == EBUSY) continue;
        if (!announced) return std::unexpected(announced.error());
        auto info = control.add(
            {.id = static_cast<i32>(id), .queues = queues_of(options), .depth = options.depth});
        // EEXIST: another server was faster.
        if (info || info.error().number != EEXIST) return info;
    }
    if (only)
        return fail(EBUSY, "{} is in use; detach it, or attach without --device", options.device);
    return fail(EBUSY, "the first {} ublk devices are all in use: detach one", ids_tried_max);
}

Status remove_stopped(ublk::Control& control, u32 id) {
    Status removed = control.remove(id);
    const bool in_reach = !nodes_of(ublk::block_device_path(id)).empty();
    if (removed || removed.error().number != ETIME || in_reach) return removed;
    // Someone from whom the disk was taken still has it open: the kernel frees it when they close
    // it, and until then it is of no use to anybody.
    log::warning("{}", removed.error().message);
    return {};
}

// A server that died during its own recovery has started it already. Linux 6.12.117 then answers
// EINVAL to a second start although the device is quiesced; what is missing is the rest.
Status start_recovery(ublk::Control& control, u32 id) {
    Status started = control.start_recovery(id);
    if (started || started.error().number != EINVAL) return started;
    const auto info = control.info(id);
    if (info && info->state == abi::ublk::state_quiesced) return {};
    return started;
}

// The disk keeps what it was started with, so the image must still be what it was.
Status check_same_disk(const DeviceState& state, const abi::ublk::Params& params,
                       const TransportContext& context) {
    const backing::Geometry& geometry = context.geometry;
    constexpr u64 sector_bytes = 512;  // the driver's unit, whatever the block size
    const u64 size = params.basic.device_sectors * sector_bytes;
    const u64 block = u64{1} << (params.basic.logical_block_shift & 31);
    if (size != context.size_bytes) {
        return fail(EINVAL, "{} has {} bytes, but {} makes {} now; give the image its size back",
                    state.device, size, state.backing_file, context.size_bytes);
    }
    if (block != geometry.sector_size) {
        return fail(
            EINVAL,
            "{} has sectors of {} bytes, but {} makes {} now; detach it and attach the image again",
            state.device, block, state.backing_file, geometry.sector_size);
    }
    // By the driver's flag or, where it was made so while in use, by the kernel's own.
    const std::string disk = state.device.substr(state.device.rfind('/'));
    const bool read_only = (params.basic.attributes & abi::ublk::attribute_read_only) != 0 ||
                           read_line("/sys/block" + disk + "/ro") == "1";
    if (geometry.read_only && !read_only) {
        return fail(EROFS, "{} is writable, but {} is not any more; make it so again", state.device,
                    state.backing_file);
    }
    return {};
}

}  // namespace

UblkTransport::UblkTransport(ublk::Control control, const ublk::DeviceInfo& info,
                             Ownership ownership, const TransportContext& context)
    : control_(std::move(control)),
      info_(info),
      ownership_(ownership),
      sector_size_(context.geometry.sector_size),
      issuers_(context.issuers),
      queues_(info.queues) {}

UblkTransport::~UblkTransport() { ASSERT(ownership_ != Ownership::added); }

Result<std::unique_ptr<Transport>> UblkTransport::create(const DeviceOptions& options,
                                                         const TransportContext& context,
                                                         const Announce& announce) {
    auto control = open_control();
    if (!control) return std::unexpected(std::move(control).error());
    const auto info = add_announced(*control, options, announce);
    if (!info) return std::unexpected(info.error());
    std::unique_ptr<UblkTransport> transport(
        new UblkTransport(std::move(*control), *info, Ownership::added, context));
    Status prepared = transport->prepare(context.geometry);
    if (prepared) return transport;
    if (const Status removed = transport->remove(); !removed) {
        log::error("{}", removed.error().message);
    }
    return std::unexpected(std::move(prepared).error());
}

Status UblkTransport::prepare(const backing::Geometry& geometry) {
    // Before that it takes no orders from its user.
    if (caller() == ublk::Caller::user) TRY(ublk::wait_until_given(info_.id));
    TRY(control_.set_params(info_, geometry));
    auto char_fd = ublk::open_char_device(info_.id);
    if (!char_fd) return std::unexpected(std::move(char_fd).error());
    char_fd_ = std::move(*char_fd);
    return watch_issuers();
}

// Before the disk appears, or its requests come again: none of them goes unnoticed.
Status UblkTransport::watch_issuers() {
    if (!issuers_) return {};
    ASSERT(issuers_->hold(info_.queues, info_.depth));
    return issuers_->watch(device_path().substr(std::string_view("/dev/").size()));
}

Result<std::unique_ptr<Transport>> UblkTransport::take_over(const DeviceState& state,
                                                            const TransportContext& context) {
    const auto id = ublk::id_of(state.device);
    if (!id) return fail(EINVAL, "{}: not a ublk device", state.device);
    auto control = open_control();
    if (!control) return std::unexpected(std::move(control).error());
    const auto params = control->params(*id);
    if (!params) return std::unexpected(params.error());
    TRY(check_same_disk(state, *params, context));
    TRY(start_recovery(*control, *id));
    const auto info = control->info(*id);
    if (!info) return std::unexpected(info.error());
    auto char_fd = ublk::open_char_device(*id);
    if (!char_fd) return std::unexpected(std::move(char_fd).error());
    std::unique_ptr<UblkTransport> transport(
        new UblkTransport(std::move(*control), *info, Ownership::taken_over, context));
    transport->char_fd_ = std::move(*char_fd);
    TRY(transport->watch_issuers());
    return transport;
}

Status UblkTransport::join(u32 index, engine::Shard& shard) {
    auto queue = ublk::Queue::create(shard, char_fd_.get(), info_, index, sector_size_, issuers_);
    if (!queue) return std::unexpected(std::move(queue).error());
    queues_[index] = std::move(*queue);
    queues_[index]->on_closed = queue_on_closed;
    queues_[index]->on_closed_context = this;
    {
        const std::lock_guard lock(mutex_);
        ++queues_open_;
    }
    queues_[index]->start();
    return {};
}

void UblkTransport::leave(u32 index) { queues_[index].reset(); }

Status UblkTransport::bring_up() {
    if (ownership_ == Ownership::added) {
        TRY(control_.start(info_.id));
        use_no_scheduler(device_path());
        return wait_for_nodes(device_path());
    }
    // Its nodes exist, and from here on it is ours to end.
    TRY(control_.end_recovery(info_.id));
    ownership_ = Ownership::added;
    return {};
}

Status UblkTransport::may_resize() {
    const auto features = control_.features();
    if (!features) return std::unexpected(features.error());
    if ((features->value_or(0) & abi::ublk::flag_update_size) != 0) return {};
    return fail(EOPNOTSUPP,
                "{}: this kernel ({}) cannot change the size of a ublk device in use (Linux 6.16 "
                "can): detach it and attach the image again",
                device_path(), kernel_release());
}

Status UblkTransport::resize(u64 size_bytes) { return control_.resize(info_.id, size_bytes); }

Status UblkTransport::stop() {
    if (ownership_ == Ownership::gone) return {};
    if (ownership_ == Ownership::taken_over) {
        // Its fetches end with STOP or with this process. STOP would end the device too.
        const std::lock_guard lock(mutex_);
        if (queues_open_ == 0) return {};
        return fail(ECANCELED, "{} still waits for a server: ringloop recover gives it one",
                    device_path());
    }
    // STOP cancels the fetches that it finds. A shard that is just starting may fetch afterwards,
    // and nothing but another STOP ends that: Linux 6.12 cancels again on a device that is dead.
    const Deadline deadline(queues_close_timeout_ms);
    do {
        TRY(control_.stop(info_.id));
        if (queues_close_within(stop_again)) return {};
    } while (!deadline.passed());
    return fail(ETIMEDOUT, "{}: the kernel did not give back every request; see dmesg",
                device_path());
}

void UblkTransport::queue_on_closed(void* transport) {
    auto& self = *static_cast<UblkTransport*>(transport);
    const std::lock_guard lock(self.mutex_);
    --self.queues_open_;
    self.closed_.notify_all();
}

bool UblkTransport::queues_close_within(std::chrono::milliseconds time) {
    std::unique_lock lock(mutex_);
    return closed_.wait_for(lock, time, [this] { return queues_open_ == 0; });
}

Status UblkTransport::remove() {
    char_fd_.reset();
    if (std::exchange(ownership_, Ownership::gone) != Ownership::added) return {};
    return remove_stopped(control_, info_.id);
}

std::optional<std::string> first_free_ublk_device() {
    for (u32 id = 0; id < ids_tried_max; ++id) {
        if (!is_taken(id)) return ublk::block_device_path(id);
    }
    return std::nullopt;
}

Status ublk_usable() {
    auto control = open_control();
    if (!control) return std::unexpected(control.error());
    return control->may_add();
}

std::optional<ublk::Owner> user_of_ublk_device(const std::string& disk) {
    const auto id = ublk::id_of(disk);
    if (!id) return std::nullopt;
    auto control = ublk::Control::open(caller());
    if (!control) return std::nullopt;
    const auto owner = control->owner(*id);
    return owner ? *owner : std::nullopt;
}

bool ublk_device_is_gone(const DeviceState& state) {
    struct stat node{};
    return ::lstat(state.device.c_str(), &node) != 0 && errno == ENOENT;
}

bool ublk_device_exists(const DeviceState& state) {
    const auto id = ublk::id_of(state.device);
    return id && is_taken(*id);
}

Result<Remains> ublk_remains_of(const DeviceState& state) {
    const auto id = ublk::id_of(state.device);
    if (!id) return fail(EINVAL, "{}: not a ublk device", state.device);
    auto control = ublk::Control::open(caller());
    if (!control) return std::unexpected(std::move(control).error());
    const auto info = control->info(*id);
    if (!info && info.error().number == ENODEV) return Remains::none;
    if (!info) return std::unexpected(info.error());
    // The number was given to another device since. A device that was never started has no pid.
    if (info->server_pid > 0 && info->server_pid != state.pid) return Remains::none;
    return info->state == abi::ublk::state_dead ? Remains::unusable : Remains::recoverable;
}

Status remove_ublk_remains(const DeviceState& state) {
    const auto id = ublk::id_of(state.device);
    if (!id) return fail(EINVAL, "{}: not a ublk device", state.device);
    auto control = ublk::Control::open(caller());
    if (!control) return std::unexpected(std::move(control).error());
    TRY(control->stop(*id));
    return remove_stopped(*control, *id);
}

}  // namespace ringloop::control
