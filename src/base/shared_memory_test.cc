#include "base/shared_memory.h"

#include <gtest/gtest.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include <cstring>

namespace ringloop {
namespace {

TEST(SharedMemory, IsSeenByAProcessForkedLaterAtTheSameAddress) {
    auto memory = SharedMemory::create(100);
    ASSERT_TRUE(memory.has_value());
    EXPECT_EQ(memory->length(), page_bytes());
    const pid_t child = ::fork();
    if (child == 0) {
        memory->data()[17] = std::byte{42};
        ::_exit(0);
    }
    ::waitpid(child, nullptr, 0);
    EXPECT_EQ(memory->data()[17], std::byte{42});
}

TEST(SharedMemory, ForgetsPagesThatAreLockedToo) {
    auto memory = SharedMemory::create(3 * page_bytes());
    ASSERT_TRUE(memory.has_value());
    std::memset(memory->data(), 1, memory->length());
    if (::mlock(memory->data(), memory->length()) != 0) GTEST_SKIP() << "no memory can be locked";
    memory->forget(page_bytes(), page_bytes());
    EXPECT_EQ(memory->data()[page_bytes() - 1], std::byte{1});
    EXPECT_EQ(memory->data()[page_bytes()], std::byte{0});
    EXPECT_EQ(memory->data()[2 * page_bytes()], std::byte{1});
}

}  // namespace
}  // namespace ringloop
