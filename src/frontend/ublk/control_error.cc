#include "frontend/ublk/control_error.h"

#include <cerrno>

namespace ringloop::ublk {

namespace {

template <typename... Args>
Error error_of(i32 number, fmt::format_string<Args...> text, Args&&... args) {
    return {number, fmt::format(text, std::forward<Args>(args)...)};
}

Error add_error(i32 number) {
    switch (number) {
        case EEXIST:
            return error_of(number,
                            "a ublk device of this number exists already: choose another number "
                            "or detach that device");
        case EACCES:
            // Until 6.14 the limit counts every device, later those of unprivileged users.
            return error_of(number,
                            "as many ublk devices exist as the driver allows: detach one or raise "
                            "/sys/module/ublk_drv/parameters/ublks_max");
        case ENOSPC: return error_of(number, "every ublk device number is in use: detach a device");
        case ENOMEM:
            return error_of(number,
                            "the kernel has no memory for this ublk device: use fewer queues or "
                            "a smaller depth");
        case EINVAL:
            return error_of(number,
                            "the ublk driver refused the device: 1 to 4096 queues and a depth of "
                            "1 to 4096 are possible, and a number below the driver's limit");
        default: return error_of(number, "cannot add a ublk device: {}", cause_and_way_out(number));
    }
}

Error start_error(u32 id, i32 number) {
    switch (number) {
        case EEXIST:
            return error_of(number, "ublk device {} is started already: detach it first", id);
        case EINVAL:
            return error_of(number,
                            "the kernel refused the disk of ublk device {}: see dmesg for the "
                            "parameter that it does not take",
                            id);
        default:
            return error_of(number, "cannot start ublk device {}: {}", id,
                            cause_and_way_out(number));
    }
}

Error recovery_error(Step step, u32 id, i32 number) {
    switch (number) {
        case EBUSY:
            return error_of(number,
                            "ublk device {} still has a server: end that process (its pid is in "
                            "\"ringloop status\") and try again",
                            id);
        case EINVAL:
            return error_of(number,
                            "ublk device {} cannot be recovered: it was never started, or added "
                            "without user recovery; detach it and attach the image again",
                            id);
        default:
            return error_of(number, "cannot recover ublk device {} ({}): {}", id, name_of(step),
                            cause_and_way_out(number));
    }
}

// ETIME: the command may still be running in the kernel.
Error timeout_error(Step step, u32 id) {
    switch (step) {
        case Step::features:
        case Step::info:
        case Step::info2:
        case Step::add:
        case Step::set_params:
        case Step::params:
        case Step::update_size:
        case Step::start_recovery:
            return error_of(ETIME,
                            "the ublk driver did not answer {}: another ublk command hangs in the "
                            "kernel (see dmesg); only a reboot may help",
                            name_of(step));
        case Step::start:
        case Step::end_recovery:
            return error_of(ETIME,
                            "ublk device {} did not come up in time: its image is too slow to "
                            "read the partition table from, or the kernel hangs in {} (see dmesg)",
                            id, name_of(step));
        case Step::stop:
            return error_of(ETIME,
                            "ublk device {} did not stop in time: requests wait for its image; "
                            "see that the image's disk or server answers, then detach again",
                            id);
        case Step::remove:
            return error_of(ETIME,
                            "ublk device {} was not deleted in time: somebody has {} open; close "
                            "it, then detach again",
                            id, fmt::format("/dev/ublkb{0} or /dev/ublkc{0}", id));
    }
    return error_of(ETIME, "the ublk driver did not answer");
}

}  // namespace

const char* name_of(Step step) {
    switch (step) {
        case Step::features: return "GET_FEATURES";
        case Step::info: return "GET_DEV_INFO";
        case Step::info2: return "GET_DEV_INFO2";
        case Step::add: return "ADD_DEV";
        case Step::set_params: return "SET_PARAMS";
        case Step::params: return "GET_PARAMS";
        case Step::update_size: return "UPDATE_SIZE";
        case Step::start: return "START_DEV";
        case Step::stop: return "STOP_DEV";
        case Step::remove: return "DEL_DEV";
        case Step::start_recovery: return "START_USER_RECOVERY";
        case Step::end_recovery: return "END_USER_RECOVERY";
    }
    return "?";
}

Error driver_error(Step step, u32 id, i32 number) {
    if (number == ETIME) return timeout_error(step, id);
    if (number == EPERM) {
        return error_of(number, "{} is not permitted: ublk needs CAP_SYS_ADMIN, run as root",
                        name_of(step));
    }
    if (step == Step::add) return add_error(number);
    if (step == Step::info2 && number == EACCES) return not_given_error(id, number);
    if (number == ENODEV)
        return error_of(number, "ublk device {} does not exist: see ringloop list", id);

    switch (step) {
        case Step::start: return start_error(id, number);
        case Step::start_recovery:
        case Step::end_recovery: return recovery_error(step, id, number);
        case Step::set_params:
            if (number == EACCES) {
                return error_of(
                    number, "ublk device {} is started: its parameters are fixed; detach it first",
                    id);
            }
            break;
        case Step::features:
        case Step::info:
        case Step::info2:
        case Step::add:
        case Step::params:
        case Step::update_size:
        case Step::stop:
        case Step::remove: break;
    }
    return error_of(number, "ublk device {}: {} failed: {}", id, name_of(step),
                    cause_and_way_out(number));
}

Error not_given_error(u32 id, i32 number) {
    const std::string path = fmt::format("/dev/ublkc{}", id);
    if (number != EACCES) return error_of(number, "{}: {}", path, cause_and_way_out(number));
    return error_of(number,
                    "{}: udev did not give it to this user: the udev rules of ringloop have to be "
                    "installed (ringloop(1), WITHOUT ROOT); when they are, detach it",
                    path);
}

Error open_error(i32 number, std::string_view release, bool module_installed) {
    constexpr const char* path = "/dev/ublk-control";
    if (number == EACCES || number == EPERM) {
        return error_of(number,
                        "{}: permission denied: run as root, or have it opened to you "
                        "(ringloop(1), WITHOUT ROOT); --transport socket needs neither",
                        path);
    }
    // ENXIO, ENODEV: a node that was made by hand, or left in a container.
    if (number != ENOENT && number != ENXIO && number != ENODEV) {
        return error_of(number, "{}: {}", path, cause_and_way_out(number));
    }
    if (module_installed) {
        return error_of(number,
                        "{}: the ublk driver is not loaded: load it with: modprobe ublk_drv", path);
    }
    return error_of(number,
                    "{}: Linux {} has no ublk driver: boot a kernel that was built with "
                    "CONFIG_BLK_DEV_UBLK (Linux 6.0 or later; Debian 12 has one in "
                    "bookworm-backports)",
                    path, release);
}

}  // namespace ringloop::ublk
