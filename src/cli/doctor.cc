#include "control/doctor.h"

#include <nlohmann/json.hpp>

#include "cli/output.h"
#include "cli/verbs.h"
#include "control/state.h"

namespace ringloop::cli {
namespace {

std::string text_of(const control::Diagnosis& diagnosis) {
    std::vector<std::vector<std::string>> rows;
    for (const control::Finding& finding : diagnosis.findings) {
        rows.push_back({control::to_text(finding.health), finding.topic, finding.fact});
        if (!finding.remedy.empty()) rows.push_back({"", "", "-> " + finding.remedy});
    }
    return format_table(rows);
}

nlohmann::json json_of(const control::Diagnosis& diagnosis) {
    nlohmann::json findings = nlohmann::json::array();
    for (const control::Finding& finding : diagnosis.findings) {
        findings.push_back({{"health", control::to_text(finding.health)},
                            {"topic", finding.topic},
                            {"fact", finding.fact},
                            {"remedy", finding.remedy}});
    }
    return {{"usable", diagnosis.usable}, {"findings", findings}};
}

}  // namespace

int run(const Doctor& command) {
    const control::Diagnosis diagnosis = control::diagnose();
    const std::string text =
        command.json ? control::dump_json(json_of(diagnosis), true) : text_of(diagnosis);
    return print_line(text) && diagnosis.usable ? exit_done : exit_failed;
}

}  // namespace ringloop::cli
