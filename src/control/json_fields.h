// Fields of objects that somebody else wrote: what is missing, or of another kind, is nothing.
#pragma once

#include <nlohmann/json.hpp>
#include <optional>
#include <string>

#include "base/int.h"

namespace ringloop::control {

inline u64 number_in(const nlohmann::json& object, const char* field) {
    const auto found = object.find(field);
    return found != object.end() && found->is_number_unsigned() ? found->get<u64>() : 0;
}

inline std::string text_in(const nlohmann::json& object, const char* field) {
    const auto found = object.find(field);
    return found != object.end() && found->is_string() ? found->get<std::string>() : "";
}

inline std::optional<bool> flag_in(const nlohmann::json& object, const char* field) {
    const auto found = object.find(field);
    if (found == object.end() || !found->is_boolean()) return std::nullopt;
    return found->get<bool>();
}

}  // namespace ringloop::control
