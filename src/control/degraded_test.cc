#include "control/degraded.h"

#include <gtest/gtest.h>

#include <filesystem>

#include "backing/test_dir.h"

namespace ringloop::control {
namespace {

TEST(Degraded, names_everything_that_is_wrong) {
    EXPECT_EQ(degraded_reason({}, {}), "");
    EXPECT_EQ(degraded_reason({.removed = true, .missing_bytes = 512}, {.failures = 2,
                                                                        .op = engine::Op::write,
                                                                        .error = Errno::no_space,
                                                                        .since_s = 1'700'000'000}),
              "its file was removed, and is gone when the device is; the image was cut short, 512 "
              "bytes of the device are missing; 2 requests failed: the first a write (" +
                  std::string(describe(Errno::no_space)) + "), at 2023-11-14T22:13:20Z");
}

TEST(Degraded, is_seen_when_somebody_looks_and_ends_with_its_cause) {
    const backing::TestDir dir;
    const std::string path = dir.sparse("disk.img", 1 * mib);
    const auto image = backing::Backing::open({.path = path, .offset_bytes = 4096});
    ASSERT_TRUE(image) << image.error().message;
    engine::Device device(**image);
    EXPECT_EQ(look_at_image(**image, device).reason, "");
    std::filesystem::resize_file(path, 512 * kib);
    EXPECT_EQ(look_at_image(**image, device).reason,
              "the image was cut short, 524288 bytes of the device are missing");
    EXPECT_EQ(device.troubles().end, 512 * kib - 4096);
    std::filesystem::resize_file(path, 0);
    look_at_image(**image, device);
    EXPECT_EQ(device.troubles().end, 0u);
    std::filesystem::resize_file(path, 2 * mib);
    EXPECT_EQ(look_at_image(**image, device).reason, "");
    EXPECT_EQ(device.troubles().end, ~u64{0});
    std::filesystem::remove(path);
    EXPECT_NE(look_at_image(**image, device).reason.find("was removed"), std::string::npos);
}

}  // namespace
}  // namespace ringloop::control
