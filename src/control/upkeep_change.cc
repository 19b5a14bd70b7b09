#include "control/upkeep_change.h"

#include <nlohmann/json.hpp>

#include "control/json_fields.h"

namespace ringloop::control {
namespace {

using nlohmann::json;

Status read_flag(const json& question, const char* field, std::optional<bool>& flag) {
    if (!question.contains(field)) return {};
    flag = flag_in(question, field);
    return flag ? Status() : fail(EINVAL, "{}: not true or false", field);
}

std::string line(const json& answer, const std::string& device, const char* field,
                 const char* previous_field, const char* name) {
    const auto now = flag_in(answer, field);
    const auto previous = flag_in(answer, previous_field);
    if (!now || !previous) return "";
    const auto word = [](bool on) { return on ? "on" : "off"; };
    return fmt::format(
        "{}: {}: {}{}\n", device, name, word(*now),
        *now == *previous ? ", as before" : fmt::format(" now, {} before", word(*previous)));
}

}  // namespace

void ask_for(json& question, const UpkeepChange& change) {
    if (change.autoclear) question["autoclear"] = *change.autoclear;
    if (change.watch_size) question["watch_size"] = *change.watch_size;
}

Result<UpkeepChange> upkeep_change_in(const json& question) {
    UpkeepChange change;
    TRY(read_flag(question, "autoclear", change.autoclear));
    TRY(read_flag(question, "watch_size", change.watch_size));
    return change;
}

Upkeep::Clients clients_of(const Transports& transports) {
    const auto clients = transports.clients();
    return clients ? Upkeep::Clients{.now = clients->connections, .ever = clients->accepted}
                   : Upkeep::Clients{};
}

Status change_upkeep(const UpkeepChange& change, Upkeep& upkeep, const Transports& transports,
                     DeviceState& state) {
    if (!change.any()) return {};
    const Upkeep::Wanted wanted = {.autoclear = change.autoclear.value_or(state.autoclear),
                                   .watch_size = change.watch_size.value_or(state.watch_size)};
    TRY(upkeep.watch(wanted, clients_of(transports)));
    state.autoclear = wanted.autoclear;
    state.watch_size = wanted.watch_size;
    return {};
}

void add_upkeep_to(json& answer, const UpkeepChange& change, const DeviceState& before,
                   const DeviceState& after) {
    if (change.autoclear) {
        answer["autoclear"] = after.autoclear;
        answer["previous_autoclear"] = before.autoclear;
    }
    if (change.watch_size) {
        answer["watch_size"] = after.watch_size;
        answer["previous_watch_size"] = before.watch_size;
    }
}

std::string upkeep_text(const json& answer, const std::string& device) {
    return line(answer, device, "autoclear", "previous_autoclear", "autoclear") +
           line(answer, device, "watch_size", "previous_watch_size", "watch size");
}

}  // namespace ringloop::control
