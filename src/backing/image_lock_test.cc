#include "backing/image_lock.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cerrno>
#include <limits>
#include <string>

#include "base/unique_fd.h"

namespace ringloop::backing {
namespace {

class ImageLockTest : public testing::Test {
protected:
    ImageLockTest() {
        std::string pattern = testing::TempDir() + "/ringloop-lock-XXXXXX";
        const UniqueFd made(::mkstemp(pattern.data()));
        path_ = pattern;
    }
    ~ImageLockTest() override { ::unlink(path_.c_str()); }

    // A description of its own, as another process would have.
    UniqueFd open(int flags) const { return UniqueFd(::open(path_.c_str(), flags | O_CLOEXEC)); }

    std::string path_;
};

TEST_F(ImageLockTest, TwoWritersOfTheSameBytesAreRefused) {
    const UniqueFd one = open(O_RDWR), other = open(O_RDWR);
    ASSERT_TRUE(lock_image(one.get(), {4096, 4096}, false));
    const Status refused = lock_image(other.get(), {8191, 1}, false);
    ASSERT_FALSE(refused);
    EXPECT_EQ(refused.error().number, EBUSY);
}

TEST_F(ImageLockTest, TwoWritersSideBySideAreNot) {
    const UniqueFd one = open(O_RDWR), other = open(O_RDWR);
    ASSERT_TRUE(lock_image(one.get(), {0, 4096}, false));
    EXPECT_TRUE(lock_image(other.get(), {4096, 0}, false));
}

TEST_F(ImageLockTest, WithoutALengthAllThatWillEverFollowIsMeant) {
    const UniqueFd one = open(O_RDWR), other = open(O_RDWR);
    ASSERT_TRUE(lock_image(one.get(), {4096, 0}, false));
    constexpr u64 far = std::numeric_limits<off_t>::max() - 512;
    EXPECT_FALSE(lock_image(other.get(), {far, 512}, false));
}

TEST_F(ImageLockTest, ReadersShareAndKeepWritersOut) {
    const UniqueFd one = open(O_RDONLY), other = open(O_RDONLY), writer = open(O_RDWR);
    ASSERT_TRUE(lock_image(one.get(), {}, true));
    EXPECT_TRUE(lock_image(other.get(), {}, true));
    EXPECT_FALSE(lock_image(writer.get(), {}, false));
}

TEST_F(ImageLockTest, ASmallerRangeLetsGoOfTheRest) {
    const UniqueFd one = open(O_RDWR), other = open(O_RDWR);
    ASSERT_TRUE(lock_image(one.get(), {4096, 0}, false));
    ASSERT_TRUE(lock_image(one.get(), {8192, 4096}, false));
    EXPECT_TRUE(lock_image(other.get(), {0, 8192}, false));
    EXPECT_FALSE(lock_image(other.get(), {8192, 1}, false));
    EXPECT_TRUE(lock_image(other.get(), {12288, 0}, false));
    unlock_image(one.get());
    EXPECT_TRUE(lock_image(other.get(), {}, false));
}

TEST_F(ImageLockTest, TheLastDescriptorLetsGo) {
    UniqueFd one = open(O_RDWR);
    const UniqueFd other = open(O_RDWR);
    ASSERT_TRUE(lock_image(one.get(), {}, false));
    one.reset();
    EXPECT_TRUE(lock_image(other.get(), {}, false));
}

}  // namespace
}  // namespace ringloop::backing
