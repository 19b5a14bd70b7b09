#include "control/upkeep.h"

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/timerfd.h>
#include <unistd.h>

#include <array>
#include <cerrno>
#include <utility>

#include "control/attention.h"
#include "control/opener.h"

namespace ringloop::control {
namespace {

// An unmounted filesystem lets go of its device without a word, and so does a file that grows.
constexpr time_t period_s = 1;
// mount(8) opens a device, looks what is on it, closes it, and only then mounts it.
constexpr u32 quiet_ticks_min = 2;

}  // namespace

std::vector<std::string> users_among(std::vector<std::string> holders) {
    std::erase_if(holders, [](const std::string& line) {
        return line.find("(systemd-udevd) has it open") != std::string::npos ||
               line.find("((udev-worker)) has it open") != std::string::npos;
    });
    return holders;
}

Result<std::unique_ptr<Upkeep>> Upkeep::create(const DeviceState& state) {
    const bool block_device = state.transport != TransportChoice::socket;
    std::unique_ptr<Upkeep> upkeep(new Upkeep(state.device, block_device));
    TRY(upkeep->open());
    return upkeep;
}

Status Upkeep::open() {
    timer_.reset(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    opens_.reset(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    if (!timer_ || !opens_) return fail_errno(errno, "cannot watch {}", device_);
    auto events = watch_any(std::array{timer_.get(), opens_.get()});
    if (!events) return std::unexpected(std::move(events).error());
    events_ = std::move(*events);
    return {};
}

Status Upkeep::watch(Wanted wanted, Clients clients) {
    TRY(watch_opens(wanted.autoclear && block_device_));
    if (wanted.autoclear != wanted_.autoclear) {
        used_ = wanted.autoclear && is_open();
        quiet_ticks_ = 0;
        clients_before_ = clients.ever - clients.now;
    }
    wanted_ = wanted;
    always_ticks_ = wanted.watch_size || (wanted.autoclear && !block_device_);
    tick(always_ticks_ || used_);
    return {};
}

Status Upkeep::watch_opens(bool wanted) {
    if (wanted && opens_watch_ < 0) {
        opens_watch_ = ::inotify_add_watch(opens_.get(), device_.c_str(), IN_OPEN | IN_CLOSE);
        if (opens_watch_ < 0) return fail_errno(errno, "cannot watch {}", device_);
    }
    if (!wanted && opens_watch_ >= 0) {
        ::inotify_rm_watch(opens_.get(), std::exchange(opens_watch_, -1));
    }
    return {};
}

void Upkeep::tick(bool wanted) {
    const time_t seconds = wanted ? period_s : 0;
    const itimerspec times = {.it_interval = {.tv_sec = seconds, .tv_nsec = 0},
                              .it_value = {.tv_sec = seconds, .tv_nsec = 0}};
    ::timerfd_settime(timer_.get(), 0, &times, nullptr);  // cannot fail with these
}

bool Upkeep::clear() {
    std::array<char, 4096> events;  // that something happened is all that counts
    const auto drain = [&events](int fd) {
        bool any = false;
        while (::read(fd, events.data(), events.size()) > 0) any = true;
        return any;
    };
    const bool ticked = drain(timer_.get());
    const bool opened = drain(opens_.get());
    if (ticked) ++quiet_ticks_;
    if (opened) quiet_ticks_ = 0;
    return ticked || opened;
}

bool Upkeep::is_open() const {
    return block_device_ && !users_among(holders_seen(device_)).empty();
}

bool Upkeep::last_user_left(Clients clients) {
    const bool in_use = clients.now > 0 || is_open();
    if (in_use || (!block_device_ && clients.ever > clients_before_)) {
        if (!used_ && !always_ticks_) tick(true);
        used_ = true;
    }
    if (in_use) quiet_ticks_ = 0;
    if (in_use || !used_) return false;
    if (!block_device_) return true;
    if (quiet_ticks_ < quiet_ticks_min) return false;
    claim_.reset(::open(device_.c_str(), O_RDONLY | O_EXCL | O_CLOEXEC | O_NONBLOCK));
    // Empty: the kernel, or somebody of whom this process may not know, holds it still.
    return static_cast<bool>(claim_);
}

}  // namespace ringloop::control
