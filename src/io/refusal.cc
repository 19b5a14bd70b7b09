#include "io/refusal.h"

#include <sys/utsname.h>

#include <cerrno>
#include <cstdio>

namespace ringloop::io {
namespace {

std::string kernel_release() {
    utsname name{};
    return ::uname(&name) == 0 ? name.release : "unknown";
}

// kernel.io_uring_disabled (6.6): 1 allows it to a group and to root, 2 to nobody.
int disabled_setting() {
    int setting = 0;
    std::FILE* file = std::fopen("/proc/sys/kernel/io_uring_disabled", "re");
    if (!file) return 0;
    if (std::fscanf(file, "%d", &setting) != 1) setting = 0;
    std::fclose(file);
    return setting;
}

}  // namespace

Error uring_refusal(i32 number) {
    if (number == ENOSYS || number == EINVAL) {
        return {number, fmt::format("the io_uring of this kernel ({}) is missing or too old; "
                                    "ringloop needs Linux 5.19 or later with CONFIG_IO_URING",
                                    kernel_release())};
    }
    if (number == EPERM || number == EACCES) {
        if (const int setting = disabled_setting(); setting != 0) {
            return {number, fmt::format("io_uring is switched off (kernel.io_uring_disabled = {}); "
                                        "allow it with 'sysctl -w kernel.io_uring_disabled=0'",
                                        setting)};
        }
        return {number,
                "io_uring is forbidden to this process, most likely by a container's seccomp "
                "profile; allow io_uring_setup, io_uring_enter and io_uring_register in it"};
    }
    if (number == ENOMEM) {
        return {number, "no memory for an io_uring; raise the limit of locked memory (ulimit -l)"};
    }
    return {number, fmt::format("cannot create an io_uring: {}", cause_and_way_out(number))};
}

}  // namespace ringloop::io
