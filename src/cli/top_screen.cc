#include "cli/top_screen.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>
#include <utility>

#include "cli/text_width.h"

namespace ringloop::cli {
namespace {

using enum TopColumn;
using engine::Op;

constexpr u32 name_width_min = 10;
constexpr u32 name_width_max = 65;  // of a name, or of a lane below it
constexpr u32 image_width_min = 8;
constexpr std::string_view keys = "q quit  s < > sort  r reverse  l lanes  space pause";
constexpr std::string_view lane_indent = "  ";

struct Column {
    TopColumn id;
    const char* title;
    u32 width;
};
// In the order in which they stand.
constexpr std::array<Column, top_column_count> columns = {{{device, "DEVICE", name_width_min},
                                                           {reads, "R/S", 5},
                                                           {writes, "W/S", 5},
                                                           {read_bytes, "RMB/S", 5},
                                                           {written_bytes, "WMB/S", 5},
                                                           {p50, "P50", 5},
                                                           {p99, "P99", 5},
                                                           {queue_depth, "QD", 4},
                                                           {nowait, "NW%", 4},
                                                           {merges, "MRG/S", 5},
                                                           {errors, "ERR", 5},
                                                           {image, "IMAGE", image_width_min}}};
// Where there is no room, these go first.
constexpr std::array dropped = {image,         merges,      p50,    nowait, read_bytes,
                                written_bytes, queue_depth, errors, p99,    writes};

const Column& column_of(TopColumn id) { return columns[static_cast<u32>(id)]; }

// What a row is sorted by where that is a number; the highest comes first.
double number_of(const TopRow& row, TopColumn column) {
    if (!row.rates) return -1;
    const Rates& rates = *row.rates;
    switch (column) {
        case reads: return rates.of(Op::read).requests_per_s;
        case writes: return rates.of(Op::write).requests_per_s;
        case read_bytes: return rates.of(Op::read).bytes_per_s;
        case written_bytes: return rates.of(Op::write).bytes_per_s;
        case p50: return static_cast<double>(rates.p50_ns);
        case p99: return static_cast<double>(rates.p99_ns);
        case queue_depth: return static_cast<double>(rates.inflight);
        case nowait: return rates.nowait.value_or(-1);
        case merges: return rates.merged_per_s;
        case errors: return static_cast<double>(rates.errors);
        case device:
        case image: break;
    }
    return 0;
}

std::vector<const TopRow*> sorted(const std::vector<TopRow>& rows, const TopView& view) {
    std::vector<const TopRow*> order;
    for (const TopRow& row : rows) order.push_back(&row);
    const auto is_before = [&view](const TopRow& one, const TopRow& other) {
        if (view.sort == device) return one.name < other.name;
        if (view.sort == image) return one.image < other.image;
        return number_of(one, view.sort) > number_of(other, view.sort);
    };
    std::ranges::sort(order, [&](const TopRow* one, const TopRow* other) {
        if (is_before(*one, *other)) return !view.reverse;
        if (is_before(*other, *one)) return view.reverse;
        return one->name < other->name;
    });
    return order;
}

std::string value_of(const TopRow& row, TopColumn column) {
    if (column == device) return row.name;
    if (column == image) return row.image;
    if (!row.rates) return "-";
    const double number = number_of(row, column);
    switch (column) {
        case read_bytes:
        case written_bytes: return short_number(number / 1e6);
        case p50: return short_time(row.rates->p50_ns);
        case p99: return short_time(row.rates->p99_ns);
        case nowait:
            return row.rates->nowait ? fmt::format("{:.0f}", *row.rates->nowait * 100) : "-";
        default: return short_number(number);
    }
}

// A lane counts what it moves, in both directions, and not how long it takes.
std::string value_of(const LaneRates& lane, TopColumn column) {
    switch (column) {
        case device: return std::string(lane_indent) + lane.cgroup;
        case reads: return short_number(lane.requests_per_s);
        case read_bytes: return short_number(lane.read_bytes_per_s / 1e6);
        case written_bytes: return short_number(lane.written_bytes_per_s / 1e6);
        case queue_depth: return short_number(static_cast<double>(lane.inflight));
        default: return "";
    }
}

struct Layout {
    std::vector<Column> columns;

    u32 width() const {
        u32 sum = 0;
        for (const Column& column : columns) sum += column.width + 1;
        return sum - 1;
    }
    Column* find(TopColumn id) {
        const auto found = std::ranges::find(columns, id, &Column::id);
        return found == columns.end() ? nullptr : &*found;
    }
};

u32 longest_name(const std::vector<TopRow>& rows, bool lanes) {
    u32 width = name_width_min;
    for (const TopRow& row : rows) {
        width = std::max(width, columns_of(row.name));
        if (!lanes || !row.rates) continue;
        for (const LaneRates& lane : row.rates->lanes) {
            width = std::max(width, columns_of(value_of(lane, device)));
        }
    }
    return width;
}

// The numbers first, then names as long as they are, then the image has what is left.
Layout layout_of(const std::vector<TopRow>& rows, const TopView& view, u32 width) {
    Layout layout{{columns.begin(), columns.end()}};
    u32 image_width = image_width_min;
    for (const TopRow& row : rows) image_width = std::max(image_width, columns_of(row.image));
    const u32 name_width = longest_name(rows, view.lanes);
    if (width == 0) {
        layout.find(device)->width = name_width;
        layout.find(image)->width = image_width;
        return layout;
    }
    for (const TopColumn id : dropped) {
        if (layout.width() <= width) break;
        // What the rows are sorted by stays, or nobody would understand their order.
        if (id != view.sort)
            std::erase_if(layout.columns, [id](const Column& c) { return c.id == id; });
    }
    const auto widen = [&](TopColumn id, u32 wanted) {
        Column* column = layout.find(id);
        if (!column || layout.width() >= width) return;
        column->width +=
            std::min(wanted > column->width ? wanted - column->width : 0, width - layout.width());
    };
    widen(image, 2 * image_width_min);
    widen(device, std::min(name_width, name_width_max));
    widen(image, image_width);
    return layout;
}

bool is_text(TopColumn column) { return column == device || column == image; }

template <typename Value>
std::string line_of(const Layout& layout, Value&& value) {
    std::string line;
    for (const Column& column : layout.columns) {
        if (&column != &layout.columns.front()) line += ' ';
        const std::string text = value(column.id);
        const u32 taken = columns_of(text);
        // Numbers stand to the right; one that is too long is still shown, cut.
        const bool pad = !is_text(column.id) && taken < column.width;
        line += pad ? std::string(column.width - taken, ' ') + text : fit(text, column.width);
    }
    line.resize(line.find_last_not_of(' ') + 1);
    return line;
}

// Columns are few where there is hardly any width at all.
std::string cut(std::string line, u32 width) {
    if (width == 0 || columns_of(line) <= width) return line;
    return fit(line, width);
}

std::string with_trouble(const TopRow& row) { return row.name + " (" + row.trouble + ")"; }

}  // namespace

TopColumn next_column(TopColumn column, int step) {
    const int count = static_cast<int>(top_column_count);
    return static_cast<TopColumn>((static_cast<int>(column) + step + count) % count);
}

const char* title_of(TopColumn column) { return column_of(column).title; }

std::string short_number(double value) {
    if (value < 0.05) return "0";
    if (value < 9.95 && value != std::floor(value)) return fmt::format("{:.1f}", value);
    if (value < 9999.5) return fmt::format("{:.0f}", value);
    for (const char unit : {'k', 'M', 'G'}) {
        value /= 1000;
        if (value < 99.95) return fmt::format("{:.1f}{}", value, unit);
        if (value < 999.5) return fmt::format("{:.0f}{}", value, unit);
    }
    return fmt::format("{:.0f}T", value / 1000);
}

std::string short_time(u64 ns) {
    if (ns == 0) return "-";
    double value = static_cast<double>(ns) / 1000;
    for (const char unit : {'u', 'm'}) {
        if (value < 99.95) return fmt::format("{:.1f}{}", value, unit);
        if (value < 999.5) return fmt::format("{:.0f}{}", value, unit);
        value /= 1000;
    }
    return fmt::format("{:.0f}s", value);
}

std::vector<std::string> top_table(const std::vector<TopRow>& rows, const TopView& view,
                                   const TopSize& size) {
    std::vector<TopRow> shown = rows;
    for (TopRow& row : shown) {
        if (!row.trouble.empty()) row.name = with_trouble(row);
    }
    const Layout layout = layout_of(shown, view, size.width);
    std::vector<std::string> lines = {line_of(layout, title_of)};
    for (const TopRow* row : sorted(shown, view)) {
        lines.push_back(line_of(layout, [&](TopColumn id) { return value_of(*row, id); }));
        if (!view.lanes || !row->rates) continue;
        for (const LaneRates& lane : row->rates->lanes) {
            lines.push_back(line_of(layout, [&](TopColumn id) { return value_of(lane, id); }));
        }
    }
    for (std::string& line : lines) line = cut(std::move(line), size.width);
    if (size.height > 0 && lines.size() > size.height) {
        const std::size_t hidden = lines.size() - size.height + 1;
        lines.resize(size.height);
        lines.back() = cut(fmt::format("... and {} lines more", hidden), size.width);
    }
    return lines;
}

std::vector<std::string> top_screen(const std::vector<TopRow>& rows, const TopView& view,
                                    std::string_view title, const TopSize& size) {
    const std::string head = fmt::format("{}{}, by {}{}", title, view.paused ? " [paused]" : "",
                                         title_of(view.sort), view.reverse ? " reversed" : "");
    // The table is what one came for: it gets the lines first, then the head, then the keys.
    const bool has_head = size.height >= 3;
    const bool has_keys = size.height >= 5;
    const u32 others = (has_head ? 1u : 0u) + (has_keys ? 1u : 0u);
    std::vector<std::string> lines =
        top_table(rows, view, {.width = size.width, .height = size.height - others});
    if (has_head) lines.insert(lines.begin(), cut(head, size.width));
    if (!has_keys) return lines;
    lines.resize(size.height - 1);
    lines.push_back(cut(std::string(keys), size.width));
    return lines;
}

}  // namespace ringloop::cli
