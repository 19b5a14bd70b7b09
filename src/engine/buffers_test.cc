#include "engine/buffers.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cstring>
#include <random>
#include <vector>

namespace ringloop::engine {
namespace {

TEST(Buffers, ArePrivateUntilTheyAreShared) {
    Buffers buffers;
    BufferPiece piece = buffers.take(100);
    ASSERT_TRUE(piece);
    EXPECT_EQ(piece.length() % 4096, 0u);
    std::memset(piece.data(), 1, piece.length());
}

TEST(Buffers, ThatAreSharedAreSeenByAProcessForkedBefore) {
    Buffers buffers;
    ASSERT_TRUE(buffers.share(1 * mib));
    BufferPiece piece = buffers.take(4096);
    ASSERT_TRUE(piece);
    const pid_t child = ::fork();
    if (child == 0) {
        piece.data()[17] = std::byte{42};
        ::_exit(0);
    }
    ::waitpid(child, nullptr, 0);
    EXPECT_EQ(piece.data()[17], std::byte{42});
}

TEST(Buffers, AreRefusedWhenTheMappingIsFull) {
    Buffers buffers;
    ASSERT_TRUE(buffers.share(64 * kib));
    BufferPiece first = buffers.take(40 * kib);
    ASSERT_TRUE(first);
    EXPECT_FALSE(buffers.take(40 * kib));
    first.reset();
    EXPECT_TRUE(buffers.take(64 * kib));
}

TEST(Buffers, ComeBackEmpty) {
    Buffers buffers;
    ASSERT_TRUE(buffers.share(64 * kib));
    BufferPiece piece = buffers.take(64 * kib);
    std::memset(piece.data(), 1, piece.length());
    piece.reset();
    piece = buffers.take(64 * kib);
    EXPECT_EQ(piece.data()[100], std::byte{0});
}

TEST(Buffers, NeverOverlapAndJoinAgainInAnyOrder) {
    constexpr u64 total = 1 * mib;
    Buffers buffers;
    ASSERT_TRUE(buffers.share(total));
    std::mt19937 random(1);
    std::vector<BufferPiece> pieces;
    for (u32 turn = 0; turn < 20'000; ++turn) {
        if (random() % 2 == 0) {
            BufferPiece piece = buffers.take(1 + random() % (128 * kib));
            if (!piece) continue;
            // Whoever had it too would see another mark.
            std::memset(piece.data(), 0, 8);
            for (const BufferPiece& other : pieces) {
                const bool apart = other.data() + other.length() <= piece.data() ||
                                   piece.data() + piece.length() <= other.data();
                ASSERT_TRUE(apart);
            }
            pieces.push_back(std::move(piece));
        } else if (!pieces.empty()) {
            std::swap(pieces[random() % pieces.size()], pieces.back());
            pieces.pop_back();
        }
    }
    pieces.clear();
    EXPECT_TRUE(buffers.take(total));
}

}  // namespace
}  // namespace ringloop::engine
