#include "control/capabilities.h"

#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <array>
#include <cerrno>

#include "abi/capability.h"

namespace ringloop::control {
namespace {

constexpr u32 bits_a_word = 32;
constexpr u32 numbers_max = 64;  // of a mask; the kernel says where its own end

using Words = std::array<__user_cap_data_struct, _LINUX_CAPABILITY_U32S_3>;

__user_cap_header_struct this_thread() {
    return {.version = _LINUX_CAPABILITY_VERSION_3, .pid = 0};
}

Words capabilities_now() {
    auto header = this_thread();
    Words words{};
    if (::syscall(SYS_capget, &header, words.data()) != 0) return {};
    return words;
}

// What nobody of this thread's kin can get any more, by whatever program. Refused to those who have
// nothing to give away.
void empty_bounding_set() {
    for (u32 number = 0; number < numbers_max; ++number) {
        if (::prctl(PR_CAPBSET_READ, number, 0, 0, 0) < 0) return;
        ::prctl(PR_CAPBSET_DROP, number, 0, 0, 0);
    }
}

}  // namespace

bool has_capability(u32 number) {
    const Words words = capabilities_now();
    return (words[number / bits_a_word].effective >> (number % bits_a_word) & 1) != 0;
}

Status keep_capabilities(std::span<const Capability> kept) {
    empty_bounding_set();
    const Words had = capabilities_now();
    Words words{};
    for (const Capability& capability : kept) {
        const u32 word = capability.number / bits_a_word;
        const u32 bit = 1u << (capability.number % bits_a_word);
        words[word].effective |= had[word].effective & bit;
        words[word].permitted |= had[word].permitted & bit;
    }
    auto header = this_thread();
    if (::syscall(SYS_capset, &header, words.data()) != 0) return fail_errno(errno, "capset");
    return {};
}

}  // namespace ringloop::control
