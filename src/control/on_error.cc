#include "control/on_error.h"

#include <nlohmann/json.hpp>
#include <utility>

#include "base/errno.h"
#include "control/json_fields.h"

namespace ringloop::control {
namespace {

using engine::Device;
using engine::OnError;
using nlohmann::json;

std::string cause_text(const Device::Incident& incident) {
    return fmt::format("a {} ({}), at {}", engine::name_of(incident.op), describe(incident.error),
                       utc_text(static_cast<i64>(incident.since_s)));
}

std::string paused_text(const Device::Incident& paused) {
    if (paused.requests == 0) return "";
    return fmt::format(
        "{} for room on the image's file system: the first was {}",
        paused.requests == 1 ? "1 request waits" : fmt::format("{} requests wait", paused.requests),
        cause_text(paused));
}

// "stopped", "paused" or "": the one that counts, and what ended by a resume.
const char* halt_word(const DeviceState& state) {
    if (!state.stopped.empty()) return "stopped";
    if (!state.paused.empty()) return "paused";
    return state.degraded.empty() ? "" : "degraded";
}

}  // namespace

void ask_for(json& question, const OnErrorChange& change) {
    if (change.on_error) question["on_error"] = to_text(*change.on_error);
    if (change.resume) question["resume"] = true;
}

Result<OnErrorChange> on_error_change_in(const json& question) {
    OnErrorChange change;
    if (question.contains("on_error")) {
        const auto on_error = parse_on_error(text_in(question, "on_error"));
        if (!on_error) return std::unexpected(on_error.error());
        change.on_error = *on_error;
    }
    if (const auto resume = question.find("resume"); resume != question.end()) {
        if (!resume->is_boolean()) return fail(EINVAL, "resume: not true or false");
        change.resume = resume->get<bool>();
    }
    return change;
}

Status may_change_on_error(const OnErrorChange& change, bool poisoned, const DeviceState& state) {
    if (change.on_error) {
        if (Status fits =
                check_on_error(*change.on_error, state.transport, state.queues, state.unprivileged);
            !fits) {
            return fail(fits.error().number, "{}: {}", state.device, fits.error().message);
        }
    }
    if (!change.resume || !poisoned) return {};
    return fail(EIO,
                "{}: cannot go on: a sync failed, and what was written may be lost; detach it, "
                "check the storage below, and attach the image again",
                state.device);
}

void change_on_error(const OnErrorChange& change, Device& device, ShardThreads& shards,
                     DeviceState& state) {
    if (!change.any()) return;
    if (change.on_error) {
        device.set_on_error(*change.on_error);
        state.on_error = *change.on_error;
    }
    if (change.resume) {
        device.go_on();
        state.stopped.clear();
        state.degraded.clear();
    }
    shards.retry_held();
}

void add_on_error_to(json& answer, const OnErrorChange& change, const DeviceState& before,
                     const DeviceState& after) {
    if (change.on_error) {
        answer["on_error"] = to_text(after.on_error);
        answer["previous_on_error"] = to_text(before.on_error);
    }
    if (change.resume) answer["resumed_from"] = halt_word(before);
}

std::string on_error_text(const json& answer, const std::string& device) {
    std::string text;
    const std::string now = text_in(answer, "on_error");
    const std::string previous = text_in(answer, "previous_on_error");
    if (!now.empty()) {
        text +=
            fmt::format("{}: on errors: {}{}\n", device, now,
                        now == previous ? ", as before" : fmt::format(" now, {} before", previous));
    }
    if (!answer.contains("resumed_from")) return text;
    const std::string from = text_in(answer, "resumed_from");
    text += fmt::format("{}: {}\n", device,
                        from.empty()       ? "goes on; nothing was wrong"
                        : from == "paused" ? "what waited for room is tried again"
                                           : fmt::format("goes on; was {}", from));
    return text;
}

bool note_stop_and_pause(const Device& device, DeviceState& state) {
    const Device::Incident stop = device.stop_cause();
    std::string stopped;
    if (stop.requests > 0) {
        // Of a server before this one only the text is known.
        stopped = stop.since_s > 0 || state.stopped.empty()
                      ? fmt::format("the first change that failed was {}", cause_text(stop))
                      : state.stopped;
    }
    std::string paused = paused_text(device.paused());
    const bool changed =
        stopped.empty() != state.stopped.empty() || paused.empty() != state.paused.empty();
    state.stopped = std::move(stopped);
    state.paused = std::move(paused);
    return changed;
}

}  // namespace ringloop::control
