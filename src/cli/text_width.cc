#include "cli/text_width.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>

namespace ringloop::cli {
namespace {

struct Range {
    char32_t first;
    char32_t last;
};
// Unicode's East Asian Width, W and F, in broad strokes: who is taken for wide wrongly leaves a
// blank, who is not would break the table.
constexpr std::array wide = {Range{0x1100, 0x115f},  Range{0x2e80, 0xa4cf}, Range{0xa960, 0xa97f},
                             Range{0xac00, 0xd7a3},  Range{0xf900, 0xfaff}, Range{0xfe30, 0xfe6f},
                             Range{0xff00, 0xff60},  Range{0xffe0, 0xffe6}, Range{0x1f300, 0x1faff},
                             Range{0x20000, 0x3fffd}};
// Marks that stand on the letter before them, and directions of writing, which could mirror a line.
constexpr std::array hidden = {Range{0x300, 0x36f},   Range{0x200b, 0x200f}, Range{0x202a, 0x202e},
                               Range{0x2066, 0x2069}, Range{0xfe00, 0xfe0f}, Range{0xfeff, 0xfeff}};

template <std::size_t N>
bool within(const std::array<Range, N>& ranges, char32_t c) {
    return std::ranges::any_of(ranges, [c](const Range& r) { return c >= r.first && c <= r.last; });
}

// Takes one character off the front; what is no UTF-8 is one byte.
struct Character {
    std::string_view bytes;
    char32_t code = 0;
    bool valid = false;
};
Character take(std::string_view& text) {
    const auto first = static_cast<unsigned char>(text[0]);
    const std::size_t length = first < 0x80           ? 1
                               : (first >> 5) == 0x6  ? 2
                               : (first >> 4) == 0xe  ? 3
                               : (first >> 3) == 0x1e ? 4
                                                      : 0;
    char32_t code = length < 2 ? first : first & (0x7fu >> length);
    bool valid = length > 0 && length <= text.size();
    for (std::size_t i = 1; valid && i < length; ++i) {
        const auto byte = static_cast<unsigned char>(text[i]);
        valid = (byte >> 6) == 0x2;
        code = (code << 6) | (byte & 0x3f);
    }
    const Character character{text.substr(0, valid ? length : 1), code, valid};
    text.remove_prefix(character.bytes.size());
    return character;
}

// As the terminal may see it, and how wide that is.
struct Cell {
    std::string text;
    u32 columns = 0;
};
Cell cell_of(const Character& character) {
    const char32_t code = character.code;
    if (!character.valid || code < 0x20 || (code >= 0x7f && code < 0xa0)) {
        Cell cell;
        for (const char c : character.bytes) {
            cell.text += fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
        }
        cell.columns = static_cast<u32>(cell.text.size());
        return cell;
    }
    if (within(hidden, code)) return {};
    return {std::string(character.bytes), within(wide, code) ? 2u : 1u};
}

}  // namespace

u32 columns_of(std::string_view text) {
    u32 columns = 0;
    while (!text.empty()) columns += cell_of(take(text)).columns;
    return columns;
}

std::string fit(std::string_view text, u32 width) {
    if (width == 0) return "";
    const bool cut = columns_of(text) > width;
    const u32 room = cut ? width - 1 : width;
    std::string line;
    u32 columns = 0;
    while (!text.empty()) {
        const Cell cell = cell_of(take(text));
        if (columns + cell.columns > room) break;
        line += cell.text;
        columns += cell.columns;
    }
    if (cut) {
        line += '~';
        ++columns;
    }
    return line + std::string(width - columns, ' ');
}

}  // namespace ringloop::cli
