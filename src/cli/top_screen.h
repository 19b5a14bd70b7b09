// What `top` shows, as text: no terminal and no clock here.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "cli/rates.h"

namespace ringloop::cli {

struct TopRow {
    std::string name;
    std::string image;
    std::string trouble;         // why there are no rates: "dead", "no answer"; empty otherwise
    std::optional<Rates> rates;  // of the last interval; not yet of a device that is new
};

enum class TopColumn : u8 {
    device,
    reads,
    writes,
    read_bytes,
    written_bytes,
    p50,
    p99,
    queue_depth,
    nowait,
    merges,
    errors,
    image,
};
inline constexpr u32 top_column_count = 12;

struct TopView {
    TopColumn sort = TopColumn::device;
    bool reverse = false;  // numbers: the smallest first; names: the last first
    bool lanes = true;
    bool paused = false;
};

struct TopSize {
    u32 width = 0;   // columns; 0: as wide as it takes
    u32 height = 0;  // lines; 0: all of them
};

// Lines of at most `width` columns, and at most `height` of them: a head, the table, and the keys.
// `title` is the head's text. Where columns do not fit, the least telling ones are left out.
std::vector<std::string> top_screen(const std::vector<TopRow>& rows, const TopView& view,
                                    std::string_view title, const TopSize& size);
// The table alone.
std::vector<std::string> top_table(const std::vector<TopRow>& rows, const TopView& view,
                                   const TopSize& size);

// The column that comes `step` (1 or -1) after this one, round and round.
TopColumn next_column(TopColumn column, int step);
const char* title_of(TopColumn column);

// Five characters at the most: "0", "1.2", "9999", "12.3k".
std::string short_number(double value);
// "-" for none, "999u", "1.2m", "12s": micro, milli, seconds.
std::string short_time(u64 ns);

}  // namespace ringloop::cli
