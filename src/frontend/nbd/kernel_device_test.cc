#include "frontend/nbd/kernel_device.h"

#include <gtest/gtest.h>

namespace ringloop::nbd {
namespace {

TEST(KernelDevice, has_the_index_that_its_name_tells) {
    EXPECT_EQ(kernel_device_index("/dev/nbd0"), 0U);
    EXPECT_EQ(kernel_device_index("nbd15"), 15U);
    EXPECT_EQ(kernel_device_index(kernel_device_path(kernel_device_index_max)),
              kernel_device_index_max);
}

TEST(KernelDevice, is_known_by_no_other_name) {
    for (const char* name : {"", "nbd", "/dev/nbd", "nbd0p1", "nbd00", "nbd-1", "nbd+1", "nbd 1",
                             "nbd65536", "nbd99999999999999999999", "/dev/ublkb0", "/dev//nbd0",
                             "/tmp/nbd0", "nbd+unix:///?socket=/x"}) {
        EXPECT_FALSE(kernel_device_index(name)) << name;
    }
}

}  // namespace
}  // namespace ringloop::nbd
