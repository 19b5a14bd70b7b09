#include "frontend/ublk/control.h"

#include <gtest/gtest.h>

#include "frontend/ublk/control_error.h"

namespace ringloop::ublk {
namespace {

constexpr Step every_step[] = {
    Step::features, Step::info, Step::add,    Step::set_params,     Step::params,
    Step::start,    Step::stop, Step::remove, Step::start_recovery, Step::end_recovery};

bool contains(const Error& error, const char* text) {
    return error.message.find(text) != std::string::npos;
}

TEST(UblkNames, OfABlockDeviceGiveItsNumber) {
    EXPECT_EQ(id_of("/dev/ublkb0"), 0u);
    EXPECT_EQ(id_of("ublkb12"), 12u);
    EXPECT_EQ(id_of(block_device_path(1048575)), 1048575u);
}

TEST(UblkNames, OfAnythingElseGiveNone) {
    for (const char* name :
         {"", "/dev/", "ublkb", "/dev/ublkb", "/dev/ublkc0", "/dev/ublkb0p1", "/dev/ublkb00",
          "ublkb-1", "ublkb 1", "ublkb4294967296", "/dev/loop0", "/tmp/ublkb0", "ublkb1x"}) {
        EXPECT_EQ(id_of(name), std::nullopt) << name;
    }
}

TEST(UblkErrors, AreOneLineAndKeepTheirNumber) {
    for (const Step step : every_step) {
        for (const i32 number : {EPERM, EIO, EINTR, EACCES, EBUSY, EEXIST, ENODEV, EINVAL, ENOSPC,
                                 ENOMEM, EOPNOTSUPP, ETIME}) {
            const Error error = driver_error(step, 7, number);
            EXPECT_EQ(error.number, number);
            EXPECT_FALSE(error.message.empty());
            EXPECT_FALSE(contains(error, "\n")) << error.message;
            EXPECT_NE(error.message.back(), '.') << error.message;
        }
    }
}

TEST(UblkErrors, NameTheDeviceTheyAreAbout) {
    EXPECT_TRUE(contains(driver_error(Step::start, 7, EIO), "ublk device 7"));
    EXPECT_TRUE(contains(driver_error(Step::remove, 7, ETIME), "ublk device 7"));
    EXPECT_TRUE(contains(driver_error(Step::info, 7, ENODEV), "ublk device 7 does not exist"));
}

TEST(UblkErrors, SayWhatToDo) {
    EXPECT_TRUE(contains(driver_error(Step::add, 0, EPERM), "run as root"));
    EXPECT_TRUE(contains(driver_error(Step::add, 0, EEXIST), "choose another number"));
    EXPECT_TRUE(contains(driver_error(Step::add, 0, EACCES), "ublks_max"));
    EXPECT_TRUE(contains(driver_error(Step::start_recovery, 0, EBUSY), "end that process"));
    EXPECT_TRUE(contains(driver_error(Step::stop, 0, ETIME), "detach again"));
}

TEST(UblkOpenErrors, TellAModuleThatIsNotLoadedFromAKernelWithoutUblk) {
    EXPECT_TRUE(contains(open_error(ENOENT, "6.12.1", true), "modprobe ublk_drv"));
    const Error none = open_error(ENOENT, "6.1.0-37-amd64", false);
    EXPECT_TRUE(contains(none, "6.1.0-37-amd64"));
    EXPECT_TRUE(contains(none, "CONFIG_BLK_DEV_UBLK"));
    EXPECT_TRUE(contains(open_error(EACCES, "6.12.1", true), "run as root"));
}

}  // namespace
}  // namespace ringloop::ublk
