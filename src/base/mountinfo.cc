#include "base/mountinfo.h"

#include <algorithm>
#include <charconv>
#include <optional>

namespace ringloop {
namespace {

std::vector<std::string_view> words(std::string_view line) {
    std::vector<std::string_view> found;
    while (!line.empty()) {
        const std::size_t end = std::min(line.find(' '), line.size());
        if (end > 0) found.push_back(line.substr(0, end));
        line.remove_prefix(std::min(end + 1, line.size()));
    }
    return found;
}

std::optional<u32> number(std::string_view text) {
    u32 value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) return std::nullopt;
    return value;
}

// Blanks and backslashes are written as \040, \011, \012, \134.
std::string unescape(std::string_view text) {
    std::string plain;
    for (std::size_t i = 0; i < text.size(); ++i) {
        u32 code = 0;
        const char* digits = text.data() + i + 1;
        if (text[i] == '\\' && text.size() - i > 3 &&
            std::from_chars(digits, digits + 3, code, 8).ptr == digits + 3) {
            plain.push_back(static_cast<char>(code));
            i += 3;
        } else {
            plain.push_back(text[i]);
        }
    }
    return plain;
}

std::optional<Mount> parse_line(std::string_view line) {
    const auto fields = words(line);
    const auto separator = std::ranges::find(fields, "-");
    if (fields.size() < 6 || fields.end() - separator < 3) return std::nullopt;
    const std::string_view device = fields[2];
    const std::size_t colon = device.find(':');
    if (colon == std::string_view::npos) return std::nullopt;
    const auto major = number(device.substr(0, colon));
    const auto minor = number(device.substr(colon + 1));
    if (!major || !minor) return std::nullopt;
    return Mount{.major = *major,
                 .minor = *minor,
                 .mount_point = unescape(fields[4]),
                 .type = std::string(separator[1]),
                 .source = unescape(separator[2]),
                 .root = unescape(fields[3]),
                 .options = std::string(fields.end() - separator > 3 ? separator[3] : "")};
}

}  // namespace

std::vector<Mount> parse_mountinfo(std::string_view text) {
    std::vector<Mount> mounts;
    while (!text.empty()) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        if (auto mount = parse_line(text.substr(0, end))) mounts.push_back(std::move(*mount));
        text.remove_prefix(std::min(end + 1, text.size()));
    }
    return mounts;
}

}  // namespace ringloop
