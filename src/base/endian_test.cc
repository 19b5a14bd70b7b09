#include "base/endian.h"

#include <gtest/gtest.h>

#include <array>
#include <bit>
#include <limits>

namespace ringloop {
namespace {

TEST(Endian, PutsTheHighestByteFirstOnAWireThatIsBigEndian) {
    EXPECT_EQ((std::bit_cast<std::array<u8, 2>>(u16be{0x0102})), (std::array<u8, 2>{1, 2}));
    EXPECT_EQ((std::bit_cast<std::array<u8, 4>>(u32be{0x01020304})),
              (std::array<u8, 4>{1, 2, 3, 4}));
    EXPECT_EQ((std::bit_cast<std::array<u8, 8>>(u64be{0x0102030405060708})),
              (std::array<u8, 8>{1, 2, 3, 4, 5, 6, 7, 8}));
}

TEST(Endian, PutsTheLowestByteFirstOnAWireThatIsLittleEndian) {
    EXPECT_EQ((std::bit_cast<std::array<u8, 2>>(u16le{0x0102})), (std::array<u8, 2>{2, 1}));
    EXPECT_EQ((std::bit_cast<std::array<u8, 4>>(u32le{0x01020304})),
              (std::array<u8, 4>{4, 3, 2, 1}));
    EXPECT_EQ((std::bit_cast<std::array<u8, 8>>(u64le{0x0102030405060708})),
              (std::array<u8, 8>{8, 7, 6, 5, 4, 3, 2, 1}));
}

template <typename Wire, typename Value>
void expect_round_trip() {
    for (u32 bit = 0; bit < std::numeric_limits<Value>::digits; ++bit) {
        const auto value = static_cast<Value>(u64{1} << bit);
        EXPECT_EQ(Value{Wire{value}}, value);
        const auto others = static_cast<Value>(~value);
        EXPECT_EQ(Value{Wire{others}}, others);
    }
}

TEST(Endian, GivesBackEveryBitThatWentIn) {
    expect_round_trip<u16be, u16>();
    expect_round_trip<u32be, u32>();
    expect_round_trip<u64be, u64>();
    expect_round_trip<u16le, u16>();
    expect_round_trip<u32le, u32>();
    expect_round_trip<u64le, u64>();
}

TEST(Endian, LeavesNoPaddingInAStructure) {
    struct Mixed {
        u16be a;
        u64be b;
        u32le c;
    };
    static_assert(sizeof(Mixed) == 14 && alignof(Mixed) == 1);
    const Mixed mixed{.a = 1, .b = 2, .c = 3};
    EXPECT_EQ(mixed.a + mixed.b + mixed.c, 6u);
}

}  // namespace
}  // namespace ringloop
