#include "cli/top_screen.h"

#include <gtest/gtest.h>

#include "cli/text_width.h"

namespace ringloop::cli {
namespace {

using engine::Op;

Rates rates(double reads_per_s, u64 inflight = 0) {
    Rates rates;
    rates.interval_s = 1;
    rates.ops[static_cast<u32>(Op::read)] = {.requests_per_s = reads_per_s,
                                             .bytes_per_s = reads_per_s * 4096,
                                             .errors = 0,
                                             .p50_ns = 0,
                                             .p99_ns = 0};
    rates.p50_ns = 81'920;
    rates.p99_ns = 1'234'567;
    rates.inflight = inflight;
    return rates;
}

std::vector<TopRow> three() {
    return {{.name = "b", .image = "/images/1.img", .rates = rates(10)},
            {.name = "a", .image = "/images/3.img", .rates = rates(12'345, 7)},
            {.name = "c", .image = "/images/2.img", .trouble = "dead"}};
}

// The first word of each line but the header.
std::string names(const std::vector<std::string>& lines) {
    std::string names;
    for (std::size_t i = 1; i < lines.size(); ++i) names += lines[i].substr(0, 1);
    return names;
}

TEST(TopNumbers, are_short) {
    EXPECT_EQ(short_number(0), "0");
    EXPECT_EQ(short_number(0.01), "0");
    EXPECT_EQ(short_number(1.25), "1.2");
    EXPECT_EQ(short_number(7), "7");
    EXPECT_EQ(short_number(9999), "9999");
    EXPECT_EQ(short_number(9999.6), "10.0k");
    EXPECT_EQ(short_number(1'234'567), "1.2M");
    EXPECT_EQ(short_time(0), "-");
    EXPECT_EQ(short_time(81'920), "81.9u");
    EXPECT_EQ(short_time(999'900), "1.0m");
    EXPECT_EQ(short_time(1'234'567), "1.2m");
    EXPECT_EQ(short_time(12'000'000'000), "12s");
    for (double value = 0.001; value < 1e15; value *= 1.01) {
        EXPECT_LE(short_number(value).size(), 5u) << value;
        const auto ns = static_cast<u64>(std::min(value, 1e13));  // three hours
        EXPECT_LE(short_time(ns).size(), 6u) << value;
    }
}

TEST(TopTable, shows_all_columns_in_eighty) {
    const auto lines = top_table(three(), {}, {.width = 80, .height = 0});
    ASSERT_EQ(lines.size(), 4u);
    EXPECT_EQ(lines[0],
              "DEVICE       R/S   W/S RMB/S WMB/S   P50   P99   QD  NW% MRG/S   ERR IMAGE");
    EXPECT_TRUE(lines[1].starts_with(
        "a          12.3k     0    51     0 81.9u  1.2m    7    -     0     0 /images"))
        << lines[1];
    EXPECT_TRUE(lines[3].starts_with("c (dead)       -     -")) << lines[3];
}

TEST(TopTable, is_sorted_by_numbers_downwards_and_by_names_upwards) {
    const auto order = [](TopColumn sort, bool reverse) {
        return names(top_table(three(), {.sort = sort, .reverse = reverse}, {}));
    };
    EXPECT_EQ(order(TopColumn::device, false), "abc");
    EXPECT_EQ(order(TopColumn::device, true), "cba");
    EXPECT_EQ(order(TopColumn::reads, false), "abc");
    EXPECT_EQ(order(TopColumn::reads, true), "cba");
    EXPECT_EQ(order(TopColumn::image, false), "bca");
    EXPECT_EQ(order(TopColumn::queue_depth, true), "cba");
    EXPECT_EQ(order(TopColumn::errors, false), "abc") << "the same number: by name";
}

TEST(TopTable, is_never_wider_or_higher_than_the_terminal) {
    auto rows = three();
    rows[0].name = std::string(64, 'x');
    rows[1].image = "/\xe6\x97\xa5\xe6\x9c\xac\x1b[31m" + std::string(300, 'y');
    rows[1].rates->lanes = {{.cgroup = "/" + std::string(200, 'z'), .state = "busy"}};
    for (const u32 width : {1U, 2U, 3U, 7U, 16U, 33U, 40U, 57U, 79U, 80U, 81U, 120U, 199U}) {
        for (const u32 height : {1U, 2U, 3U, 11U}) {
            for (u32 sort = 0; sort < top_column_count; ++sort) {
                const TopView view{.sort = static_cast<TopColumn>(sort)};
                const auto lines =
                    top_screen(rows, view, "ringloop", {.width = width, .height = height});
                EXPECT_LE(lines.size(), height) << width;
                for (const auto& line : lines) {
                    EXPECT_LE(columns_of(line), width) << height << " " << line;
                    EXPECT_EQ(line.find('\x1b'), std::string::npos);
                }
            }
        }
    }
}

TEST(TopTable, leaves_out_what_tells_least_but_never_the_column_it_is_sorted_by) {
    const auto header = [](u32 width, TopColumn sort) {
        return top_table(three(), {.sort = sort}, {.width = width, .height = 0})[0];
    };
    EXPECT_EQ(header(40, TopColumn::device), "DEVICE       R/S   W/S   P99   QD   ERR");
    const std::string by_merges = header(40, TopColumn::merges);
    EXPECT_NE(by_merges.find("MRG/S"), std::string::npos) << by_merges;
    EXPECT_EQ(header(16, TopColumn::device), "DEVICE       R/S");
}

TEST(TopTable, cuts_long_names_and_shows_them_whole_where_nothing_is_narrow) {
    auto rows = three();
    rows[0].name = "a-name-that-is-longer-than-its-column-in-a-terminal";
    const auto narrow = top_table(rows, {}, {.width = 80, .height = 0});
    EXPECT_NE(narrow[2].find("~ "), std::string::npos) << narrow[2];
    const auto wide = top_table(rows, {}, {});
    EXPECT_TRUE(wide[2].starts_with(rows[0].name + " ")) << wide[2];
}

TEST(TopTable, has_lanes_below_their_device_unless_they_are_off) {
    auto rows = three();
    rows[1].rates->lanes = {{.cgroup = "/tenants/a",
                             .state = "busy",
                             .requests_per_s = 5,
                             .read_bytes_per_s = 0,
                             .written_bytes_per_s = 0,
                             .inflight = 3}};
    const auto with = top_table(rows, {}, {.width = 100, .height = 0});
    ASSERT_EQ(with.size(), 5u);
    EXPECT_TRUE(with[2].starts_with("  /tenants/a     5 ")) << with[2];
    EXPECT_EQ(top_table(rows, {.lanes = false}, {.width = 100, .height = 0}).size(), 4u);
}

TEST(TopScreen, says_how_much_is_hidden) {
    std::vector<TopRow> rows(100, three()[0]);
    const auto lines = top_screen(rows, {}, "title", {.width = 80, .height = 24});
    ASSERT_EQ(lines.size(), 24u);
    EXPECT_TRUE(lines[0].starts_with("title, by DEVICE")) << lines[0];
    EXPECT_EQ(lines[22], "... and 80 lines more");
    EXPECT_TRUE(lines[23].starts_with("q quit"));
    const auto paused = top_screen(
        rows, {.sort = TopColumn::reads, .reverse = true, .paused = true}, "t", {80, 24});
    EXPECT_TRUE(paused[0].starts_with("t [paused], by R/S reversed")) << paused[0];
}

TEST(TopColumns, go_round) {
    TopColumn column = TopColumn::device;
    for (u32 i = 0; i < top_column_count; ++i) {
        EXPECT_EQ(next_column(next_column(column, 1), -1), column);
        column = next_column(column, 1);
    }
    EXPECT_EQ(column, TopColumn::device);
    EXPECT_EQ(next_column(TopColumn::device, -1), TopColumn::image);
}

}  // namespace
}  // namespace ringloop::cli
