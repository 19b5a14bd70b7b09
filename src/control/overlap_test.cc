#include "control/overlap.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <fstream>

#include "control/test_dir.h"

namespace ringloop::control {
namespace {

TEST(LockLine, is_of_its_file_only) {
    constexpr std::string_view line = "lock:\t1: OFDLCK  ADVISORY  WRITE -1 fe:0a:131 0 EOF";
    EXPECT_TRUE(is_lock_of(line, 0xfe, 10, 131));
    EXPECT_FALSE(is_lock_of(line, 0xfe, 10, 13));
    EXPECT_FALSE(is_lock_of(line, 0xfe, 1, 131));
    EXPECT_FALSE(is_lock_of(line, 0xf, 10, 131));
    EXPECT_FALSE(is_lock_of("pos:\t0", 0xfe, 10, 131));
    EXPECT_FALSE(is_lock_of("lock:", 0xfe, 10, 131));
    EXPECT_FALSE(is_lock_of("lock:\t1: FLOCK fe:00 :: a:b:c", 0xfe, 0, 0));
}

class NestingTest : public testing::Test {
protected:
    NestingTest() : directory_(*RuntimeDir::open_at(folder_.path())) {}

    // A device by name, whose image is `image`. Its path is a file of this folder, because only
    // what exists has a real path.
    std::string device(const std::string& name, const std::string& image) {
        const std::string path = folder_.path() + "/" + name + ".node";
        std::ofstream(path) << "x";
        DeviceState state;
        state.name = name;
        state.device = path;
        state.transport = TransportChoice::socket;
        state.nbd.emplace();
        state.backing_file = image;
        state.sector_size = 512;
        state.queues = state.depth = 1;
        state.policy = engine::default_policy().name;
        state.pid = ::getpid();
        state.started_at = state.boot_id = "x";
        EXPECT_TRUE(directory_.write_state(state));
        return path;
    }

    TestDir folder_;
    RuntimeDir directory_;
};

TEST_F(NestingTest, a_file_lies_in_nothing) {
    const std::string image = folder_.path() + "/image";
    std::ofstream(image) << "x";
    EXPECT_TRUE(check_nesting(directory_, image));
}

TEST_F(NestingTest, eight_devices_may_lie_under_an_image_and_nine_may_not) {
    std::string image = folder_.path() + "/image";
    std::ofstream(image) << "x";
    for (int depth = 1; depth <= 8; ++depth) {
        image = device(fmt::format("d{}", depth), image);
        EXPECT_TRUE(check_nesting(directory_, image)) << depth;
    }
    image = device("d9", image);
    const Status refused = check_nesting(directory_, image);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().number, ELOOP);
}

TEST_F(NestingTest, a_device_cannot_lie_in_itself) {
    std::string image = folder_.path() + "/image";
    std::ofstream(image) << "x";
    const std::string lower = device("lower", image);
    const std::string upper = device("upper", lower);
    const Status refused = check_nesting(directory_, upper, lower);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().number, ELOOP);
    EXPECT_NE(refused.error().message.find(lower), std::string::npos);
    EXPECT_TRUE(check_nesting(directory_, lower, upper));
}

}  // namespace
}  // namespace ringloop::control
