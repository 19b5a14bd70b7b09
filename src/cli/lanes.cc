#include "cli/lanes.h"

#include <array>

#include "base/size.h"
#include "cli/device_status.h"
#include "cli/output.h"

namespace ringloop::cli {
namespace {

using nlohmann::json;
using Row = std::vector<std::string>;

const Row header = {"CGROUP",  "STATE",    "REQUESTS", "READ",
                    "WRITTEN", "INFLIGHT", "WORKERS",  "IDLE"};

bool has_lanes(const json& status) {
    const auto lanes = status.find("lanes");
    return lanes != status.end() && lanes->is_array();
}

std::string bytes_of(const json& lane, const char* field) {
    const auto found = lane.find(field);
    if (found == lane.end() || !found->is_number_unsigned()) return "-";
    return format_size(found->get<u64>());
}

Row row_of(const json& lane) {
    if (!lane.is_object()) return {"-"};
    const std::string idle = text_of(lane, "idle_s");
    return {text_of(lane, "cgroup"),         text_of(lane, "state"),
            text_of(lane, "requests"),       bytes_of(lane, "bytes_read"),
            bytes_of(lane, "bytes_written"), text_of(lane, "inflight"),
            text_of(lane, "workers"),        idle == "-" ? idle : idle + " s"};
}

Row named(const std::string& name, Row row) {
    row.insert(row.begin(), name);
    return row;
}

// "started 3, ended 2 ..."; what is missing is left out.
std::string counts_text(const json& status) {
    struct Count {
        const char* label;
        const char* field;
    };
    constexpr std::array<Count, 5> counts = {
        {{"lanes started", "lanes_started"},
         {"ended because nobody needed them", "lanes_reaped"},
         {"lost", "lanes_lost"},
         {"not started", "lanes_refused"},
         {"requests that the server served instead", "lane_fallbacks"}}};
    std::string text;
    for (const auto& [label, field] : counts) {
        text += (text.empty() ? "" : ", ") + fmt::format("{} {}", label, text_of(status, field));
    }
    return text;
}

}  // namespace

std::string lanes_missing(const Asked& asked) {
    if (!asked.status) return "(no answer)";
    if (has_lanes(*asked.status)) return "";
    const bool live = asked.device.served && asked.device.state.phase == control::Phase::live;
    if (!live) return fmt::format("({})", asked.device.status_word());
    return "(charges nobody)";
}

std::string lanes_table(std::span<const Asked> devices) {
    std::vector<Row> rows = {named("NAME", header)};
    for (const Asked& asked : devices) {
        const std::string& name = asked.device.state.name;
        const std::string missing = lanes_missing(asked);
        if (!missing.empty()) {
            rows.push_back({name, missing, "-", "-", "-", "-", "-", "-", "-"});
            continue;
        }
        for (const json& lane : (*asked.status)["lanes"]) rows.push_back(named(name, row_of(lane)));
    }
    return format_table(rows);
}

json lanes_json(std::span<const Asked> devices) {
    json array = json::array();
    for (const Asked& asked : devices) {
        json object = {{"name", asked.device.state.name}, {"device", asked.device.state.device}};
        if (!asked.status) object["error"] = asked.status.error().message;
        for (const char* field :
             {"charge", "charge_reason", "state", "lane_idle_s", "lanes", "lanes_started",
              "lanes_reaped", "lanes_lost", "lanes_refused", "lane_fallbacks", "lane_trouble"}) {
            if (asked.status && asked.status->contains(field)) {
                object[field] = (*asked.status)[field];
            }
        }
        array.push_back(std::move(object));
    }
    return array;
}

std::string lanes_text(const json& status) {
    if (!has_lanes(status)) return "";
    std::vector<Row> rows = {header};
    for (const json& lane : status["lanes"]) rows.push_back(row_of(lane));
    std::string text = format_table(rows) + "\n" + counts_text(status) +
                       fmt::format("; idle ones end after {} s", text_of(status, "lane_idle_s"));
    const std::string trouble = text_of(status, "lane_trouble");
    if (trouble != "-") text += "\nlast trouble: " + one_line(trouble);
    return text;
}

}  // namespace ringloop::cli
