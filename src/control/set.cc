#include "control/set.h"

#include <limits>
#include <nlohmann/json.hpp>
#include <utility>

namespace ringloop::control {
namespace {

using nlohmann::json;

std::optional<u32> number_in(const json& answer, const char* field) {
    const auto found = answer.find(field);
    if (found == answer.end() || !found->is_number_unsigned()) return std::nullopt;
    const u64 number = found->get<u64>();
    if (number > std::numeric_limits<u32>::max()) return std::nullopt;
    return static_cast<u32>(number);
}

std::string left_text(u32 lanes) {
    if (lanes == 0) return "no lanes are left";
    if (lanes == 1) return "1 lane is left because it is busy";
    return fmt::format("{} lanes are left because they are busy", lanes);
}

Status parse_lanes(const json& question, Change& change) {
    if (const auto idle = question.find("lane_idle_s"); idle != question.end()) {
        change.lane_idle_s = number_in(question, "lane_idle_s");
        if (!change.lane_idle_s) {
            return fail(EINVAL, "lane_idle_s: not a number of 1 to {}", lane_idle_max_s);
        }
    }
    if (const auto reap = question.find("reap_lanes"); reap != question.end()) {
        if (!reap->is_boolean()) return fail(EINVAL, "reap_lanes: not true or false");
        change.reap_lanes = reap->get<bool>();
    }
    return {};
}

}  // namespace

Status check_change(const Change& change) {
    if (change.dispatching == DispatchChange{} && !change.of_lanes() && !change.image.any() &&
        !change.resize && !change.on_error.any() && !change.upkeep.any()) {
        return fail(EINVAL,
                    "nothing to set: give --policy, --workers, --lane-idle, --reap-lanes, "
                    "--backing-file, --direct-io, --read-only, --size, --on-error, --resume, "
                    "--autoclear or --watch-size");
    }
    if (change.resize && change.image.any()) {
        return fail(EINVAL, "--size and a change of the image are two steps: one at a time");
    }
    if (change.image.force && change.image.backing_file.empty() && !change.image.read_only) {
        return fail(EINVAL, "--force is of --backing-file and --read-only");
    }
    TRY(check_change(change.dispatching));
    return change.lane_idle_s ? check_lane_idle(*change.lane_idle_s) : Status();
}

json to_question(const Change& change) {
    json question = {{"verb", "set"}};
    if (!change.dispatching.policy.empty()) question["policy"] = change.dispatching.policy;
    if (change.dispatching.workers) question["workers"] = *change.dispatching.workers;
    if (change.lane_idle_s) question["lane_idle_s"] = *change.lane_idle_s;
    if (change.reap_lanes) question["reap_lanes"] = true;
    ask_for(question, change.image);
    ask_for(question, change.on_error);
    ask_for(question, change.upkeep);
    if (change.sizelimit_bytes) {
        question["size"] = *change.sizelimit_bytes;
    } else if (change.resize) {
        question["size"] = "auto";
    }
    return question;
}

Result<Change> parse_question(const json& question) {
    Change change;
    if (const auto policy = question.find("policy"); policy != question.end()) {
        if (!policy->is_string()) return fail(EINVAL, "policy: not a string");
        change.dispatching.policy = policy->get<std::string>();
    }
    if (const auto workers = question.find("workers"); workers != question.end()) {
        change.dispatching.workers = number_in(question, "workers");
        if (!change.dispatching.workers) {
            return fail(EINVAL, "workers: not a number of 1 to {}", engine::workers_max);
        }
    }
    TRY(parse_lanes(question, change));
    auto image = image_wanted_in(question);
    if (!image) return std::unexpected(std::move(image).error());
    change.image = std::move(*image);
    const auto on_error = on_error_change_in(question);
    if (!on_error) return std::unexpected(on_error.error());
    change.on_error = *on_error;
    const auto upkeep = upkeep_change_in(question);
    if (!upkeep) return std::unexpected(upkeep.error());
    change.upkeep = *upkeep;
    if (const auto size = question.find("size"); size != question.end()) {
        change.resize = true;
        if (size->is_number_unsigned()) {
            change.sizelimit_bytes = size->get<u64>();
        } else if (*size != "auto") {
            return fail(EINVAL, "size: neither a number of bytes nor auto");
        }
    }
    TRY(check_change(change));
    return change;
}

Status may_change_lanes(const Change& change, bool lanes, const DeviceState& state) {
    if (lanes || !change.of_lanes()) return {};
    return fail(EINVAL,
                "{}: has no lanes, its I/O is charged to nobody but the server; attach it with "
                "--charge issuer, or --charge and a cgroup's path",
                state.device);
}

LanesChanged change_lane_idle(const Change& change, cgroup::Keeper* keeper, DeviceState& state) {
    LanesChanged changed;
    if (!change.lane_idle_s) return changed;
    changed.lane_idle_s = change.lane_idle_s;
    changed.previous_lane_idle_s = std::exchange(state.lane_idle_s, *change.lane_idle_s);
    keeper->idle_after(u64{*change.lane_idle_s} * 1000);
    return changed;
}

std::string to_text(const LanesChanged& changed, const std::string& device) {
    std::string text = device + ": ";
    if (changed.lane_idle_s) {
        text += fmt::format("lanes end after {} s without requests", *changed.lane_idle_s);
        const u32 previous = changed.previous_lane_idle_s.value_or(*changed.lane_idle_s);
        text += previous == *changed.lane_idle_s ? ", as before"
                                                 : fmt::format(" ({} s before)", previous);
        if (changed.lanes_left) text += "; ";
    }
    return changed.lanes_left ? text + left_text(*changed.lanes_left) : text;
}

void add_to(json& answer, const LanesChanged& changed) {
    if (changed.lane_idle_s) answer["lane_idle_s"] = *changed.lane_idle_s;
    if (changed.previous_lane_idle_s) {
        answer["previous_lane_idle_s"] = *changed.previous_lane_idle_s;
    }
    if (changed.lanes_left) answer["lanes_left"] = *changed.lanes_left;
}

std::optional<LanesChanged> lanes_changed_in(const json& answer, const Change& change) {
    const LanesChanged changed = {.lane_idle_s = number_in(answer, "lane_idle_s"),
                                  .previous_lane_idle_s = number_in(answer, "previous_lane_idle_s"),
                                  .lanes_left = number_in(answer, "lanes_left")};
    if (change.lane_idle_s && !(changed.lane_idle_s && changed.previous_lane_idle_s)) return {};
    if (change.reap_lanes && !changed.lanes_left) return {};
    return changed;
}

}  // namespace ringloop::control
