#include "control/server.h"

#include <signal.h>
#include <sys/prctl.h>
#include <sys/stat.h>

#include <cstdio>
#include <nlohmann/json.hpp>

#include "base/log.h"
#include "base/say.h"
#include "control/caught.h"
#include "control/metrics.h"
#include "control/notify.h"
#include "control/opener.h"
#include "control/resize.h"
#include "control/serve_stdio.h"
#include "control/server_process.h"

namespace ringloop::control {
namespace {

using nlohmann::json;

// Below the 90 s after which a service manager kills what did not stop.
constexpr u64 flush_timeout_ms = 30'000;

}  // namespace

// What is thrown all the same ends the process here (main.cc): nothing may be destroyed under
// threads.
int Server::run() noexcept {
    started_ = caught([this] { return start(); });
    const Status served = started_ ? caught([this] { return serve_until_told(); }) : Status();
    const Status ended = caught([this] { return take_down(); });
    if (!started_ && !ended) log::error("{}", ended.error().message);
    // Half taken down: the same. The state file stays for `detach`.
    if (!ended && ended.error().number == ENOMEM) std::_Exit(end(ended));
    return end(served ? ended : served);
}

Status Server::serve_until_told() {
    for (;;) {
        auto question = socket_->next(others_.get());
        if (!question) return std::unexpected(std::move(question).error());
        if (!*question && signals_.arrived() == 0) {
            TRY(attend_to_others());
            if (upkeep_ends_it()) return {};
            continue;
        }
        if (!*question) {
            log::info("signal {}: detaching {}", signals_.arrived(), state_.device);
            end_waiting();
            flush_users();
            return {};
        }
        if (const auto wanted = wants_upgrade((*question)->text)) {
            const Status stays = hand_over(**question, *wanted);
            answer(**question, dump_json({{"error", stays.error().message}}));
            continue;
        }
        const auto text = answer_to((*question)->text, live_device(), (*question)->file.get());
        if (!text) {
            stopper_ = std::move(*question);
            return {};
        }
        answer(**question, *text);
    }
}

// True: the last user has gone, and the device shall go with them.
bool Server::upkeep_ends_it() {
    if (!upkeep_->clear()) return false;
    if (upkeep_->wanted().watch_size) follow_image_size();
    if (!upkeep_->wanted().autoclear) return false;
    if (!upkeep_->last_user_left(clients_of(transports_))) return false;
    log::info("the last user of {} has gone: detaching it", state_.device);
    return true;
}

// An image that cannot be followed is said once, not each second.
void Server::follow_image_size() {
    const auto measured = backing_->measure_again();
    std::string trouble;
    if (!measured) {
        trouble = measured.error().message;
    } else if (measured->size_bytes != backing_->size_now()) {
        const auto resized = resize_device({*backing_, shards_, transports_}, state_);
        if (resized) {
            device_->forget_end();
            state_.size_bytes = resized->size_bytes;
            log::info("{}", to_text(*resized, state_.device));
            if (const Status written = directory_.write_state(state_); !written) {
                trouble = written.error().message;
            }
        } else {
            trouble = resized.error().message;
        }
    }
    if (trouble != size_trouble_ && !trouble.empty()) log::warning("{}", trouble);
    size_trouble_ = std::move(trouble);
}

Status Server::attend_to_others() {
    if (metrics_) {
        const LiveDevice live = live_device();
        metrics_->attend([&live] { return metrics_text(live.state, counters_now(live)); });
    }
    attention_.clear();
    note_trouble(live_device());
    return transports_.attend();
}

LiveDevice Server::live_device() {
    hardening_.sandbox = sandbox_.report();
    return {.directory = directory_,
            .hardening = hardening_,
            .backing = *backing_,
            .device = *device_,
            .transports = transports_,
            .shards = shards_,
            .upkeep = *upkeep_,
            .state = state_,
            .keeper = lanes_.started() ? &lanes_.keeper() : nullptr,
            .charge_shortcoming = lanes_.shortcoming()};
}

// The driver waits for every request before it lets go of its device.
void Server::end_waiting() {
    if (!device_) return;
    device_->set_on_error(engine::OnError::report);
    shards_.retry_held();
}

// A signal asks nobody whether the device is in use. What was written to it is saved all the same.
void Server::flush_users() const {
    const auto holders = holders_seen(state_.device);
    for (const std::string& holder : holders) {
        log::warning("{} is still in use: {}", state_.device, holder);
    }
    if (holders.empty()) return;  // the last close has written everything
    if (!flush_disk_seen(state_.device, flush_timeout_ms)) {
        log::error("{}: what its users wrote last may be lost; check it", state_.device);
    }
}

// The end of a device, and the undoing of a start that failed at any step. Every step is bounded.
Status Server::take_down() {
    metrics_.reset();  // nobody attends to it any more
    end_waiting();
    Status status;
    const auto keep_first = [&status](Status next) {
        if (status && !next) status = std::move(next);
    };
    if (live_) {
        notify_manager("STOPPING=1");
        state_.phase = Phase::stopping;
        keep_first(directory_.write_state(state_));
    }
    if (Status stopped = transports_.stop(); !stopped) give_up(stopped.error());
    lanes_.stop();
    if (!shards_.stop()) {
        give_up({ETIMEDOUT,
                 fmt::format("{}: the image does not answer; see that its disk or server does",
                             state_.device)});
    }
    if (predecessor_) return status;        // everything is still its own
    if (upkeep_) upkeep_->claim().reset();  // the kernel frees the disk after its last close
    if (live_ && !state_.read_only) keep_first(device_->sync_at_end());
    const Status removed = transports_.remove();
    keep_first(removed);
    socket_.reset();
    if (!lock_) return status;
    // A device that is still there keeps its files, by which it can be recovered or removed. One
    // that udev did not give to its user could not be removed when its start failed.
    const bool left_behind = !removed || (recovering() && !live_) ||
                             (state_.unprivileged && !live_ && may_remain(state_));
    if (left_behind) {
        directory_.remove_socket(lock_->name());
    } else {
        directory_.remove_files(std::move(*lock_));
    }
    return status;
}

// Requests are still with the shards, so nothing may be destroyed. The end of the process gives
// them back to the kernel; the state file stays for `recover` or `detach`.
void Server::give_up(Error error) {
    log::error("{}; the server ends without waiting", error.message);
    if (lock_ && !predecessor_) directory_.remove_socket(lock_->name());
    std::_Exit(end(std::unexpected(std::move(error))));
}

// Tells everyone who waits how it went.
int Server::end(const Status& ended) {
    const Status& status = started_ ? ended : started_;
    if (stopper_) {
        answer(*stopper_,
               dump_json(status ? json{{"ok", true}} : json{{"error", status.error().message}}));
    }
    if (status) {
        log::info("{} is detached", state_.device);
        return 0;
    }
    if (!background()) {
        say(fmt::format("ringloop: {}\n", status.error().message));
    } else if (started_) {
        log::error("{}", status.error().message);
    } else {
        // Fails when nobody waits any more, and then there is nobody else to tell.
        static_cast<void>(ready_.tell(dump_json({{"error", status.error().message}})));
    }
    return 1;
}

int serve(const ServeRequest& request) {
    // `spawn_server` ran /proc/self/exe, which would be called "exe" in ps.
    ::prctl(PR_SET_NAME, "ringloop");
    ::umask(022);
    // Other daemons replace themselves by it, and here it would be the end.
    ::signal(SIGUSR2, SIG_IGN);
    log::to_stderr(request.ready_fd ? log::Level::error : log::Level::info);

    if (request.stdio) return serve_stdio(request.options);
    ReadyPipe ready;
    if (request.ready_fd) {
        auto adopted = ReadyPipe::adopt(*request.ready_fd);
        if (!adopted) {
            say(fmt::format("ringloop: {}\n", adopted.error().message));
            return 2;
        }
        ready = std::move(*adopted);
    }
    auto signals = Signals::block();
    auto attention = Attention::create();
    auto directory = RuntimeDir::open();
    if (!signals || !attention || !directory) {
        const Error& error = !signals     ? signals.error()
                             : !attention ? attention.error()
                                          : directory.error();
        const Status told = ready.tell(dump_json({{"error", error.message}}));
        if (!request.ready_fd || !told) say(fmt::format("ringloop: {}\n", error.message));
        return 1;
    }
    return Server(request, std::move(*signals), std::move(*attention), std::move(ready),
                  std::move(*directory))
        .run();
}

}  // namespace ringloop::control
