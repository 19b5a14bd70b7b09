#include "control/answers.h"

#include <sys/resource.h>
#include <unistd.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <utility>

#include "base/log.h"
#include "control/control_socket.h"
#include "control/counters.h"
#include "control/degraded.h"
#include "control/dispatching.h"
#include "control/metrics.h"
#include "control/on_error.h"
#include "control/resize.h"
#include "control/set.h"
#include "control/status.h"

namespace ringloop::control {
namespace {

using nlohmann::json;

// Of all threads of this process, the kernel's workers for it among them.
u64 context_switches() {
    rusage usage{};
    if (::getrusage(RUSAGE_SELF, &usage) != 0) return 0;
    return static_cast<u64>(usage.ru_nvcsw) + static_cast<u64>(usage.ru_nivcsw);
}

// Direct I/O may have been given up since the start.
DeviceState state_now(const LiveDevice& live) {
    DeviceState state = live.state;
    if (state.direct_io && !live.backing.direct_now()) {
        state.direct_io = false;
        state.direct_io_reason = "the image's filesystem refused a direct operation (EINVAL)";
    }
    return state;
}

std::optional<cgroup::KeeperReport> lanes(const LiveDevice& live) {
    if (!live.keeper) return std::nullopt;
    return live.keeper->report();
}

json status(const LiveDevice& live) {
    const u64 image_errors = note_trouble(live);
    const auto shards = live.shards.stats();
    return status_json(
        {.state = state_now(live),
         .policy_reason = engine::explain(*live.device.dispatching().policy,
                                          path_facts(live.device, shards, live.keeper)),
         .hardening = live.hardening,
         .poisoned = live.device.poisoned(),
         .image_errors = image_errors,
         .held_requests = live.device.paused().requests,
         .blocking_writes = live.device.blocking_writes().load(),
         .context_switches = context_switches(),
         .clients = live.transports.clients(),
         .lanes = lanes(live),
         .charge_shortcoming = live.charge_shortcoming},
        shards);
}

json metrics(const LiveDevice& live) {
    return {{"text", metrics_text(state_now(live), counters_now(live))}};
}

// What is longer could not be sent, and the client would not hear why. (Cgroups may have long
// paths.)
std::string dump_short(const json& answer) {
    std::string text = dump_json(answer);
    if (text.size() <= answer_bytes_max) return text;
    return dump_json({{"error", "there are more lanes than one answer can tell of"}});
}

Result<json> resize(const LiveDevice& live) {
    const auto resized = resize_device({live.backing, live.shards, live.transports}, live.state);
    if (!resized) return std::unexpected(resized.error());
    live.device.forget_end();
    const u64 previous = std::exchange(live.state.size_bytes, resized->size_bytes);
    if (previous != live.state.size_bytes) TRY(live.directory.write_state(live.state));
    log::info("{}", to_text(*resized, live.state.device));
    return to_json(*resized, live.state);
}

// The image, or the size. The rest of a `set` comes after it.
Status set_image(const Change& change, int fd, const LiveDevice& live, json& answer) {
    const DeviceState before = live.state;
    if (change.image.any()) {
        TRY(change_image(change.image, fd,
                         {live.backing, live.device, live.shards, live.transports, live.keeper},
                         live.state));
        add_image_to(answer, change.image, before, live.state);
    }
    if (change.resize) {
        const auto resized = resize_device({live.backing, live.shards, live.transports}, live.state,
                                           change.sizelimit_bytes);
        if (!resized) return std::unexpected(resized.error());
        live.device.forget_end();
        live.state.size_bytes = resized->size_bytes;
        live.state.sizelimit_bytes = change.sizelimit_bytes.value_or(live.state.sizelimit_bytes);
        answer = to_json(*resized, live.state);
        log::info("{}", to_text(*resized, live.state.device));
    }
    // Before anything else may fail: recovery must find the image that is served.
    if (before != live.state) TRY(live.directory.write_state(live.state));
    return {};
}

Result<json> set(const json& question, int fd, const LiveDevice& live) {
    const auto change = parse_question(question);
    if (!change) return std::unexpected(change.error());
    TRY(may_change_lanes(*change, live.keeper, live.state));
    TRY(may_change_on_error(change->on_error, live.device.poisoned(), live.state));
    note_trouble(live);
    const auto possible = state_after(change->dispatching, live.state);
    if (!possible) return std::unexpected(possible.error());
    json answer = json::object();
    TRY(set_image(*change, fd, live, answer));
    if (const std::string text = image_text(answer, live.state.device); !text.empty()) {
        log::info("{}", text.substr(0, text.size() - 1));
    }
    const DeviceState before = live.state;
    TRY(change_upkeep(change->upkeep, live.upkeep, live.transports, live.state));
    const auto dispatched =
        change_dispatching(change->dispatching, live.device, live.shards, live.state);
    if (!dispatched) return std::unexpected(dispatched.error());
    LanesChanged changed = change_lane_idle(*change, live.keeper, live.state);
    change_on_error(change->on_error, live.device, live.shards, live.state);
    add_on_error_to(answer, change->on_error, before, live.state);
    add_upkeep_to(answer, change->upkeep, before, live.state);
    for (const std::string& text :
         {on_error_text(answer, live.state.device), upkeep_text(answer, live.state.device)}) {
        if (!text.empty()) log::info("{}", text.substr(0, text.size() - 1));
    }
    if (before != live.state) TRY(live.directory.write_state(live.state));
    if (change->reap_lanes) changed.lanes_left = live.keeper->reap();
    const bool dispatching = change->dispatching != DispatchChange{};
    if (dispatching) log::info("{}", to_text(*dispatched, live.state.device));
    if (change->of_lanes()) log::info("{}", to_text(changed, live.state.device));
    answer.update(to_json(*dispatched, live.state));
    add_to(answer, changed);
    return answer;
}

// With the time that requests waited for the change, which is nobody's where nothing was frozen.
std::string text_of(const LiveDevice& live, const std::function<Result<json>()>& change) {
    const u64 paused_us = live.shards.paused_us();
    Result<json> changed = change();
    if (changed) {
        (*changed)["pause_us"] = live.shards.paused_us() - paused_us;
        return dump_json(*changed);
    }
    log::warning("{}", changed.error().message);
    return dump_json({{"error", changed.error().message}});
}

}  // namespace

Counters counters_now(const LiveDevice& live) {
    const auto shards = live.shards.stats();
    Counters counters = counters_of(shards);
    counters.pid = ::getpid();
    counters.at_ns = now_ns();
    counters.poisoned = live.device.poisoned();
    counters.stopped = live.device.stopped();
    counters.held = live.device.paused().requests;
    counters.blocking_writes = live.device.blocking_writes().load();
    counters.clients = live.transports.clients();
    if (!live.keeper) return counters;
    counters.lanes.push_back(root_lane_of(shards));
    const cgroup::KeeperReport report = live.keeper->report();
    for (const auto& lane : report.lanes) counters.lanes.push_back(lane_counters_of(lane));
    counters.lane_fallbacks += report.refusals;
    return counters;
}

u64 note_trouble(const LiveDevice& live) {
    Degraded degraded = look_at_image(live.backing, live.device);
    const bool poisoned = live.device.poisoned() && !std::exchange(live.state.poisoned, true);
    // The count goes on; what is told of everybody is whether there is something.
    const bool changed = note_stop_and_pause(live.device, live.state) ||
                         degraded.reason.empty() != live.state.degraded.empty();
    live.state.degraded = std::move(degraded.reason);
    if (changed || poisoned) {
        if (Status written = live.directory.write_state(live.state); !written) {
            log::error("{}", written.error().message);
        }
    }
    return degraded.failures;
}

std::optional<std::string> answer_to(std::string_view question, const LiveDevice& live, int fd) {
    const auto object = parse_json(question);
    const bool valid =
        object && object->is_object() && object->contains("verb") && (*object)["verb"].is_string();
    const std::string verb = valid ? (*object)["verb"].get<std::string>() : "";
    if (verb == "status") return dump_json(status(live));
    if (verb == "counters") return dump_short(to_json(counters_now(live)));
    if (verb == "metrics") return dump_short(metrics(live));
    if (verb == "ping") return dump_json({{"ok", true}});
    if (verb == "resize") return text_of(live, [&] { return resize(live); });
    if (verb == "set") return text_of(live, [&] { return set(*object, fd, live); });
    if (verb == "stop") return std::nullopt;
    return dump_json(
        {{"error",
          "not understood; verbs: status, counters, metrics, ping, resize, set, upgrade, stop"}});
}

}  // namespace ringloop::control
