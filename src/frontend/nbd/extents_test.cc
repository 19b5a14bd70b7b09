#include "frontend/nbd/extents.h"

#include <gtest/gtest.h>

#include <vector>

namespace ringloop::nbd {
namespace {

namespace wire = abi::nbd;
using Extents = std::vector<Extent>;

constexpr u32 data = 0;
constexpr u32 hole = wire::state_hole | wire::state_zero;
constexpr u64 gib4 = u64{1} << 32;

struct Question {
    ReplyStyle style = ReplyStyle::structured;
    u64 length = 0;
    u32 block = 1;
    bool one = false;
    std::size_t room = 16;
};

// Asked as an owner asks: as long as more is wanted.
Extents fitted(const Question& question, const Extents& found) {
    Extents storage(question.room);
    const Agreement agreement{.style = question.style, .block_bytes_min = question.block};
    const Command command{.type = CommandType::block_status,
                          .req_one = question.one,
                          .range = {.offset = 0, .length = question.length}};
    ExtentFitter fitter(agreement, command, storage);
    for (const Extent& extent : found) {
        if (!fitter.wants_more()) break;
        fitter.add(extent);
    }
    const std::span<const Extent> extents = fitter.finish();
    return {extents.begin(), extents.end()};
}

u64 sum(const Extents& extents) {
    u64 total = 0;
    for (const Extent& extent : extents) total += extent.length;
    return total;
}

TEST(NbdExtents, JoinEqualNeighboursAndEndWithTheRange) {
    EXPECT_EQ(fitted({.length = 100}, {{10, data}, {20, data}, {30, hole}, {900, data}}),
              (Extents{{30, data}, {30, hole}, {40, data}}));
}

TEST(NbdExtents, OfOnlyOneAreTheFirstAndNotLongerThanTheRange) {
    EXPECT_EQ(
        fitted({.length = 100, .one = true}, {{10, hole}, {20, hole}, {30, data}, {40, hole}}),
        (Extents{{30, hole}}));
    EXPECT_EQ(fitted({.length = 100, .one = true}, {{1000, hole}}), (Extents{{100, hole}}));
}

TEST(NbdExtents, ThatDoNotFitAreLeftForTheNextRequest) {
    Extents found;
    for (u32 i = 0; i < 100; ++i) found.push_back({10, i % 2 == 0 ? data : hole});
    const Extents extents = fitted({.length = 1000, .room = 7}, found);
    EXPECT_EQ(extents.size(), 7u);
    EXPECT_EQ(sum(extents), 70u);
}

TEST(NbdExtents, AreNeverMoreThanAChunkMayHave) {
    const Extents one_too_many(extents_on_wire_max + 1);
    Extents found;
    for (u32 i = 0; i < extents_on_wire_max + 1; ++i) found.push_back({1, i % 2});
    EXPECT_EQ(fitted({.length = u64{1} << 30, .room = one_too_many.size()}, found).size(),
              extents_on_wire_max);
}

TEST(NbdExtents, AreMadeOfMinimumBlocksAndClaimOnlyWhatIsTrueOfTheWholeBlock) {
    // Block 1 is hole and data, block 3 is data and a hole.
    EXPECT_EQ(
        fitted({.length = 2560, .block = 512}, {{700, hole}, {900, data}, {900, hole}, {60, hole}}),
        (Extents{{512, hole}, {1536, data}, {512, hole}}));
    // Three extents within one block.
    EXPECT_EQ(fitted({.length = 1024, .block = 512}, {{100, hole}, {1, data}, {923, hole}}),
              (Extents{{512, data}, {512, hole}}));
    // What both parts have stays.
    EXPECT_EQ(fitted({.length = 512, .block = 512}, {{100, hole}, {412, wire::state_zero}}),
              (Extents{{512, wire::state_zero}}));
}

TEST(NbdExtents, OfAnImageThatEndsWithinABlockAreFilledUpWithData) {
    EXPECT_EQ(fitted({.length = 1024, .block = 512}, {{600, hole}}),
              (Extents{{512, hole}, {512, data}}));
}

TEST(NbdExtents, OfWhichNothingIsKnownAreData) {
    EXPECT_EQ(fitted({.length = 4096}, {}), (Extents{{4096, data}}));
    EXPECT_EQ(fitted({.length = 4096}, {{0, hole}}), (Extents{{4096, data}}));
}

TEST(NbdExtents, KeepEveryByteAtTheLengthsWhereIntegersEnd) {
    for (const u64 edge : {u64{1} << 31, gib4, u64{1} << 63}) {
        for (const i32 off : {-512, -1, 0, 1, 512}) {
            const u64 length = edge + static_cast<u64>(i64{off});
            const Question question{.style = ReplyStyle::extended, .length = length};
            EXPECT_EQ(fitted(question, {{length, hole}}), (Extents{{length, hole}}));
            EXPECT_EQ(fitted(question, {{~u64{0}, hole}}), (Extents{{length, hole}}));
            EXPECT_EQ(fitted(question, {{length - 1, hole}, {~u64{0}, data}}),
                      (Extents{{length - 1, hole}, {1, data}}));
            EXPECT_EQ(fitted(question, {{length / 2, hole}, {length - length / 2, hole}}),
                      (Extents{{length, hole}}));
        }
    }
}

TEST(NbdExtents, OfCompactRepliesStayBelow32BitsAndLoseNothing) {
    EXPECT_EQ(fitted({.length = gib4 - 1}, {{gib4 - 1, hole}}), (Extents{{gib4 - 1, hole}}));
    EXPECT_EQ(fitted({.length = u64{1} << 31}, {{gib4, hole}}), (Extents{{u64{1} << 31, hole}}));
    // More than a compact request can ask for, should a range ever come from elsewhere.
    EXPECT_EQ(fitted({.length = gib4}, {{gib4, hole}}), (Extents{{gib4 - 1, hole}, {1, hole}}));
    EXPECT_EQ(fitted({.length = gib4, .block = 512}, {{gib4, hole}}),
              (Extents{{gib4 - 512, hole}, {512, hole}}));
    EXPECT_EQ(fitted({.length = gib4, .block = 512, .one = true}, {{gib4, hole}}),
              (Extents{{gib4 - 512, hole}}));
    EXPECT_EQ(sum(fitted({.length = u64{1} << 63, .block = 65536}, {{u64{1} << 63, hole}})),
              16 * (gib4 - 65536))
        << "as many as there is room for";
}

}  // namespace
}  // namespace ringloop::nbd
