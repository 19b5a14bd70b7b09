#include "io/command_ring.h"

#include <gtest/gtest.h>
#include <sys/mman.h>

#include <array>
#include <cerrno>
#include <optional>

#include "base/unique_fd.h"

namespace ringloop::io {
namespace {

constexpr u32 command = 0x1234;
constexpr u32 timeout_ms = 10'000;

class CommandRingTest : public ::testing::Test {
protected:
    void SetUp() override {
        auto created = CommandRing::create();
        if (!created) GTEST_SKIP() << "skipped: no io_uring here: " << created.error().message;
        ring.emplace(std::move(*created));
        fd = UniqueFd(memfd_create("command-ring", MFD_CLOEXEC));
        ASSERT_TRUE(fd);
    }

    std::optional<CommandRing> ring;
    UniqueFd fd;  // its driver, a filesystem, takes no commands
    const std::array<std::byte, 80> payload{};
};

TEST_F(CommandRingTest, GivesTheDriversErrnoAsAnAnswerAndNotAsAnError) {
    const auto answer = ring->run(fd.get(), command, payload, timeout_ms);
    ASSERT_TRUE(answer.has_value()) << answer.error().message;
    EXPECT_EQ(*answer, -EOPNOTSUPP);
}

TEST_F(CommandRingTest, GivesEachCommandItsOwnAnswer) {
    for (u32 round = 0; round < 100; ++round) {
        ASSERT_EQ(ring->run(fd.get(), command, payload, timeout_ms).value_or(0), -EOPNOTSUPP);
        ASSERT_EQ(ring->run(-1, command, payload, timeout_ms).value_or(0), -EBADF);
    }
}

TEST_F(CommandRingTest, ReportsATimeThatIsOverAsAnErrorOfItsOwn) {
    const auto answer = ring->run(fd.get(), command, payload, 0);
    ASSERT_FALSE(answer.has_value());
    EXPECT_EQ(answer.error().number, ETIME);
}

}  // namespace
}  // namespace ringloop::io
