#include "base/size.h"

#include <array>
#include <cctype>
#include <charconv>

namespace ringloop {
namespace {

constexpr std::string_view unit_letters = "KMGTPE";

// The factor that `suffix` stands for, or 0 when it is none.
u64 factor_of(std::string_view suffix) {
    if (suffix.empty()) return 1;
    const char letter = static_cast<char>(std::toupper(static_cast<unsigned char>(suffix[0])));
    const auto power = unit_letters.find(letter);
    if (power == std::string_view::npos) return 0;
    const std::string_view rest = suffix.substr(1);
    u64 base = 0;
    if (rest.empty() || rest == "iB" || rest == "ib") base = 1024;
    if (rest == "B" || rest == "b") base = 1000;
    u64 factor = base == 0 ? 0 : 1;
    for (std::size_t i = 0; i <= power; ++i) factor *= base;
    return factor;
}

}  // namespace

Result<u64> parse_size(std::string_view text, std::string_view what) {
    const bool hex = text.starts_with("0x") || text.starts_with("0X");
    const std::string_view digits = hex ? text.substr(2) : text;
    u64 value = 0;
    const auto [end, error] =
        std::from_chars(digits.data(), digits.data() + digits.size(), value, hex ? 16 : 10);
    const u64 factor = factor_of(
        std::string_view(end, static_cast<std::size_t>(digits.data() + digits.size() - end)));
    if (error == std::errc::invalid_argument || factor == 0) {
        return fail(EINVAL, "{} '{}': not a size; write bytes or a number with K, M, G or KB, MB",
                    what, text);
    }
    u64 bytes = 0;
    if (error != std::errc{} || __builtin_mul_overflow(value, factor, &bytes)) {
        return fail(ERANGE, "{} '{}': larger than any device; give a smaller one", what, text);
    }
    return bytes;
}

std::string format_size(u64 bytes) {
    constexpr std::array units = {"B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"};
    auto value = static_cast<double>(bytes);
    std::size_t unit = 0;
    while (value >= 1024 && unit + 1 < units.size()) {
        value /= 1024;
        ++unit;
    }
    if (unit == 0) return fmt::format("{} B", bytes);
    return fmt::format("{:.{}f} {}", value, value < 10 ? 1 : 0, units[unit]);
}

}  // namespace ringloop
