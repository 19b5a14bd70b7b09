#include "frontend/ublk/control.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstring>

#include "frontend/ublk/control_error.h"
#include "frontend/ublk/payload.h"

namespace ringloop::ublk {
namespace {

constexpr Step every_step[] = {
    Step::features,   Step::info,           Step::info2,       Step::add,
    Step::set_params, Step::params,         Step::start,       Step::stop,
    Step::remove,     Step::start_recovery, Step::end_recovery};

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

// What the driver finds at a command's address.
std::span<const char> bytes_of(const abi::ublk::ControlCommand& header) {
    return {reinterpret_cast<const char*>(header.address), header.length};
}

TEST(UblkPayload, OfAnAdministratorIsTheStructureAlone) {
    const u64 structure = 0x1122334455667788;
    Payload payload;
    payload.fill("", std::as_bytes(std::span(&structure, 1)));
    const auto header = payload.header(7, 99);
    EXPECT_EQ(header.device_id, 7u);
    EXPECT_EQ(header.queue_id, abi::ublk::no_queue);
    EXPECT_EQ(header.data, 99u);
    EXPECT_EQ(header.path_length, 0);
    ASSERT_EQ(header.length, sizeof structure);
    EXPECT_EQ(std::memcmp(bytes_of(header).data(), &structure, sizeof structure), 0);

    payload.fill("", {});
    EXPECT_EQ(payload.header(7, 0).length, 0);
    EXPECT_EQ(payload.header(7, 0).address, 0u);
}

TEST(UblkPayload, OfAUserBeginsWithThePathOfTheNode) {
    // The longest path, before the longest structure.
    abi::ublk::Params params;
    params.types = 3;
    params.numbers.disk_minor = 17;
    for (const u32 id : {0u, 12345u, 1048575u}) {
        Payload payload;
        const std::string path = char_device_path(id);
        payload.fill(path, std::as_bytes(std::span(&params, 1)));
        const auto header = payload.header(id, 0);
        // The driver reads a path that ends with a zero at the latest where its part ends.
        ASSERT_GT(header.path_length, path.size());
        EXPECT_EQ(header.path_length % sizeof(u64), 0u);
        ASSERT_EQ(header.length, header.path_length + sizeof params);
        const auto bytes = bytes_of(header);
        EXPECT_EQ(bytes.data(), path);
        const auto rest = bytes.subspan(path.size(), header.path_length - path.size());
        EXPECT_TRUE(std::ranges::all_of(rest, [](char c) { return c == 0; }));
        EXPECT_EQ(std::memcmp(bytes.data() + header.path_length, &params, sizeof params), 0);
    }
}

TEST(UblkPayload, OfACommandWithoutAStructureIsThePathAndNothingOfTheOneBefore) {
    Payload payload;
    const std::array<std::byte, 80> structure = [] {
        std::array<std::byte, 80> all{};
        all.fill(std::byte{0xff});
        return all;
    }();
    payload.fill("/dev/ublkc1048575", structure);
    payload.fill("/dev/ublkc1", {});
    const auto header = payload.header(1, 4711);
    EXPECT_EQ(header.length, header.path_length);
    EXPECT_EQ(header.data, 4711u);
    EXPECT_EQ(std::string_view(bytes_of(header).data(), header.length),
              std::string_view("/dev/ublkc1\0\0\0\0\0", 16));
}

TEST(UblkPayload, IsReadBackFromBehindThePath) {
    u64 value = 1;
    Payload payload;
    payload.fill("/dev/ublkc0", std::as_bytes(std::span(&value, 1)));
    const auto header = payload.header(0, 0);
    const u64 answer = 42;
    std::memcpy(reinterpret_cast<std::byte*>(header.address) + header.path_length, &answer,
                sizeof answer);
    payload.read(std::as_writable_bytes(std::span(&value, 1)));
    EXPECT_EQ(value, 42u);
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

TEST(UblkErrors, NameTheDeviceTheCauseAndTheWayOut) {
    struct Case {
        Step step;
        i32 number;
        const char* text;
    };
    for (const Case& one : {
             Case{Step::add, ENOSPC, "every ublk device number is in use: detach a device"},
             Case{Step::add, EACCES,
                  "as many ublk devices exist as the driver allows: detach one or raise "
                  "/sys/module/ublk_drv/parameters/ublks_max"},
             Case{Step::add, ENOMEM,
                  "the kernel has no memory for this ublk device: use fewer queues or a smaller "
                  "depth"},
             Case{Step::add, EINVAL,
                  "the ublk driver refused the device: 1 to 4096 queues and a depth of 1 to 4096 "
                  "are possible, and a number below the driver's limit"},
             Case{Step::add, EIO, "cannot add a ublk device: Input/output error; see dmesg"},
             Case{Step::start, EEXIST, "ublk device 7 is started already: detach it first"},
             Case{Step::start, EINVAL,
                  "the kernel refused the disk of ublk device 7: see dmesg for the parameter that "
                  "it does not take"},
             Case{Step::start, EIO, "cannot start ublk device 7: Input/output error; see dmesg"},
             Case{Step::start, ETIME,
                  "ublk device 7 did not come up in time: its image is too slow to read the "
                  "partition table from, or the kernel hangs in START_DEV (see dmesg)"},
             Case{Step::start_recovery, EBUSY,
                  "ublk device 7 still has a server: end that process (its pid is in \"ringloop "
                  "status\") and try again"},
             Case{Step::start_recovery, EINVAL,
                  "ublk device 7 cannot be recovered: it was never started, or added without user "
                  "recovery; detach it and attach the image again"},
             Case{Step::end_recovery, EIO,
                  "cannot recover ublk device 7 (END_USER_RECOVERY): Input/output error; see "
                  "dmesg"},
             Case{Step::stop, ETIME,
                  "ublk device 7 did not stop in time: requests wait for its image; see that the "
                  "image's disk or server answers, then detach again"},
             Case{Step::remove, ETIME,
                  "ublk device 7 was not deleted in time: somebody has /dev/ublkb7 or /dev/ublkc7 "
                  "open; close it, then detach again"},
             Case{Step::info, ETIME,
                  "the ublk driver did not answer GET_DEV_INFO: another ublk command hangs in the "
                  "kernel (see dmesg); only a reboot may help"},
             Case{Step::info, EPERM,
                  "GET_DEV_INFO is not permitted: ublk needs CAP_SYS_ADMIN, run as root"},
             Case{Step::info, ENODEV, "ublk device 7 does not exist: see ringloop list"},
             Case{Step::set_params, EACCES,
                  "ublk device 7 is started: its parameters are fixed; detach it first"},
             Case{Step::stop, EIO, "ublk device 7: STOP_DEV failed: Input/output error; see dmesg"},
         }) {
        EXPECT_EQ(driver_error(one.step, 7, one.number).message, one.text);
    }
}

TEST(UblkOpenErrors, NameTheFileTheCauseAndTheWayOut) {
    EXPECT_EQ(open_error(EACCES, "6.12.1", true).message,
              "/dev/ublk-control: permission denied: run as root, or have it opened to you "
              "(ringloop(1), WITHOUT ROOT); --transport socket needs neither");
    EXPECT_EQ(driver_error(Step::info2, 7, EACCES).message,
              "/dev/ublkc7: udev did not give it to this user: the udev rules of ringloop have to "
              "be installed (ringloop(1), WITHOUT ROOT); when they are, detach it");
    EXPECT_EQ(not_given_error(7, ENOENT).number, ENOENT);
    EXPECT_EQ(open_error(EMFILE, "6.12.1", true).message,
              "/dev/ublk-control: Too many open files; raise ulimit -n");
    EXPECT_EQ(open_error(ENOENT, "6.12.1", true).message,
              "/dev/ublk-control: the ublk driver is not loaded: load it with: modprobe ublk_drv");
    EXPECT_TRUE(contains(open_error(ENOENT, "6.1.0", false),
                         "/dev/ublk-control: Linux 6.1.0 has no ublk driver: boot a kernel that "));
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
