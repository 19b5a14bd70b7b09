#include "cgroup/issuers_program.h"

#include <cerrno>

#ifdef RINGLOOP_BPF

#include <bpf/libbpf.h>
#include <fcntl.h>
#include <unistd.h>

#include <array>
#include <cstdarg>
#include <cstdio>
#include <string_view>

#include "base/assert.h"
#include "base/library.h"
#include "cgroup/issuers_disk.h"

namespace ringloop::cgroup {
namespace {

// All that is called of libbpf.
#define RINGLOOP_LIBBPF(X)              \
    X(bpf_link__fd)                     \
    X(bpf_map__fd)                      \
    X(bpf_map__set_initial_value)       \
    X(bpf_map__set_max_entries)         \
    X(bpf_object__find_map_by_name)     \
    X(bpf_object__find_program_by_name) \
    X(bpf_object__load)                 \
    X(bpf_object__open_mem)             \
    X(bpf_program__attach)              \
    X(libbpf_set_print)

struct Libbpf {
// NOLINTNEXTLINE(bugprone-macro-parentheses): what it declares has none
#define RINGLOOP_MEMBER(name) decltype(&::name) name;
    RINGLOOP_LIBBPF(RINGLOOP_MEMBER)
#undef RINGLOOP_MEMBER
};

#define RINGLOOP_NAME(name) #name,
constexpr std::array symbols = {RINGLOOP_LIBBPF(RINGLOOP_NAME)};
#undef RINGLOOP_NAME

// The ELF file that clang made of issuers.bpf.c; libbpf reads words of it.
alignas(8) constexpr u8 object_file[] = {
#include "issuers.bpf.inc"
};

constexpr const char* kernel_types = "/sys/kernel/btf/vmlinux";

// Of the process: libbpf's callback is told nothing that could lead to an object of ours.
std::array<char, 512> first_warning = {};

[[gnu::format(printf, 2, 0)]] int keep_first_warning(libbpf_print_level level, const char* format,
                                                     va_list arguments) {
    if (level != LIBBPF_WARN || first_warning[0] != 0) return 0;
    return std::vsnprintf(first_warning.data(), first_warning.size(), format, arguments);
}

std::unexpected<Error> refuse(i32 number) {
    if (number == EPERM) {
        return fail(EPERM,
                    "the kernel does not permit a BPF program: run as root (CAP_BPF and "
                    "CAP_PERFMON), on a kernel whose lockdown is not \"confidentiality\"");
    }
    std::string_view cause = first_warning.data();
    cause = cause.substr(0, cause.find('\n'));
    if (cause.starts_with("libbpf: ")) cause.remove_prefix(8);
    if (cause.empty()) return fail_errno(number, "the kernel does not take the BPF program");
    return fail(number,
                "the kernel does not take the BPF program: {}; boot another one, or charge a "
                "cgroup by its path",
                cause);
}

// A copy that outlives what libbpf keeps.
UniqueFd copy_of(int fd) { return UniqueFd(::fcntl(fd, F_DUPFD_CLOEXEC, 0)); }

// Nothing of libbpf's is closed: what the process has ends with it.
Result<IssuersProgram> load_with(const Libbpf& libbpf, u32 queues, u32 depth) {
    libbpf.libbpf_set_print(keep_first_warning);
    bpf_object* const object =
        libbpf.bpf_object__open_mem(object_file, sizeof(object_file), nullptr);
    if (!object) return refuse(errno);

    bpf_map* const disk = libbpf.bpf_object__find_map_by_name(object, ".bss");
    bpf_map* const issuers = libbpf.bpf_object__find_map_by_name(object, "issuers");
    bpf_program* const program = libbpf.bpf_object__find_program_by_name(object, "note_issuer");
    ASSERT(disk && issuers && program);
    const IssuersDisk value{.name = {}, .queues = queues, .depth = depth};
    // It must have the same size, so .bss is the disk and nothing else.
    const int set = libbpf.bpf_map__set_initial_value(disk, &value, sizeof(value));
    ASSERT(set == 0);
    if (libbpf.bpf_map__set_max_entries(issuers, queues * depth) != 0) return refuse(errno);

    if (libbpf.bpf_object__load(object) != 0) return refuse(errno);
    const bpf_link* const link = libbpf.bpf_program__attach(program);
    if (!link) return refuse(errno);
    IssuersProgram loaded{.issuers = copy_of(libbpf.bpf_map__fd(issuers)),
                          .disk = copy_of(libbpf.bpf_map__fd(disk)),
                          .link = copy_of(libbpf.bpf_link__fd(link))};
    if (!loaded.issuers || !loaded.disk || !loaded.link)
        return fail_errno(errno, "cannot keep the BPF program");
    return loaded;
}

}  // namespace

Result<IssuersProgram> load_issuers_program(u32 queues, u32 depth) {
    const auto libbpf = load_library<Libbpf>(
        {"libbpf.so.1", "libbpf1", "do without the issuers of ublk requests"}, symbols);
    if (!libbpf) return std::unexpected(libbpf.error());
    if (::access(kernel_types, R_OK) != 0) {
        const int number = errno;
        return fail(number,
                    "{}: {}; the program needs the types of the kernel: boot one with "
                    "CONFIG_DEBUG_INFO_BTF=y",
                    kernel_types, errno_text(number));
    }
    return load_with(*libbpf, queues, depth);
}

}  // namespace ringloop::cgroup

#else

namespace ringloop::cgroup {

Result<IssuersProgram> load_issuers_program(u32, u32) {
    return fail(EOPNOTSUPP,
                "this ringloop was built without its BPF program: install clang-19 and libbpf-dev "
                "and build it again");
}

}  // namespace ringloop::cgroup

#endif
