#include "frontend/nbd/carried.h"

#include <gtest/gtest.h>

#include <cerrno>

namespace ringloop::nbd {
namespace {

std::vector<CarriedClient> two_clients() {
    return {{.agreement = {.style = ReplyStyle::extended,
                           .flags = 0x0105,
                           .size_bytes = u64{5} << 40,
                           .block_bytes_min = 512,
                           .payload_bytes_max = 1 << 20,
                           .block_status = true},
             .input = {std::byte{1}, std::byte{2}, std::byte{3}}},
            {.agreement = {.style = ReplyStyle::simple, .size_bytes = 1}, .input = {}}};
}

TEST(Carried, ComesOutAsItWentIn) {
    const auto decoded = decode_carried(encode_carried(two_clients()));
    ASSERT_TRUE(decoded.has_value());
    ASSERT_EQ(decoded->size(), 2u);
    const CarriedClient& first = decoded->front();
    EXPECT_EQ(first.agreement.style, ReplyStyle::extended);
    EXPECT_EQ(first.agreement.flags, 0x0105);
    EXPECT_EQ(first.agreement.size_bytes, u64{5} << 40);
    EXPECT_EQ(first.agreement.block_bytes_min, 512u);
    EXPECT_EQ(first.agreement.payload_bytes_max, 1u << 20);
    EXPECT_TRUE(first.agreement.block_status);
    EXPECT_EQ(first.input, two_clients().front().input);
    EXPECT_EQ(decoded->back().agreement.style, ReplyStyle::simple);
    EXPECT_FALSE(decoded->back().agreement.block_status);
    EXPECT_TRUE(decoded->back().input.empty());
    EXPECT_TRUE(decode_carried(encode_carried({})).has_value());
}

TEST(Carried, AnotherVersionIsRefusedByName) {
    auto bytes = encode_carried(two_clients());
    bytes[11] = std::byte{2};
    const auto decoded = decode_carried(bytes);
    ASSERT_FALSE(decoded.has_value());
    EXPECT_EQ(decoded.error().number, EPROTONOSUPPORT);
    EXPECT_NE(decoded.error().message.find("form 2"), std::string::npos);
}

// Cut anywhere, and with any one byte changed: an error, or clients that keep every limit.
TEST(Carried, NothingIsBelieved) {
    const auto good = encode_carried(two_clients());
    for (std::size_t size = 0; size < good.size(); ++size) {
        const auto cut = decode_carried(Bytes(good).first(size));
        ASSERT_FALSE(cut.has_value()) << size;
        EXPECT_EQ(cut.error().number, EBADMSG) << size;
    }
    auto longer = good;
    longer.push_back(std::byte{0});
    EXPECT_FALSE(decode_carried(longer).has_value());
    for (std::size_t at = 0; at < good.size(); ++at) {
        for (const int value : {0, 1, 2, 3, 0x7f, 0x80, 0xff}) {
            auto changed = good;
            changed[at] = static_cast<std::byte>(value);
            const auto decoded = decode_carried(changed);
            if (!decoded) continue;
            for (const CarriedClient& client : *decoded) {
                EXPECT_LE(client.agreement.style, ReplyStyle::extended);
                EXPECT_LE(client.agreement.payload_bytes_max, request_bytes_max);
                EXPECT_LE(client.agreement.block_bytes_min, block_bytes_max);
                EXPECT_LE(client.input.size(), carried_bytes_max);
            }
        }
    }
}

}  // namespace
}  // namespace ringloop::nbd
