// Landlock: rules of a thread's own about what it, and those it starts, may open from now on.
// include/uapi/linux/landlock.h; written down here because Debian 12's header is of Linux 6.1.
#pragma once

#include "base/int.h"

namespace ringloop::abi::landlock {

// System calls, the same numbers on every architecture.
inline constexpr long create_ruleset_call = 444;
inline constexpr long add_rule_call = 445;
inline constexpr long restrict_self_call = 446;

inline constexpr u32 create_ruleset_version = 1u << 0;  // asks for the ABI's number instead
inline constexpr u32 rule_path_beneath = 1;

// What may be done to files: ABI 1 unless another is named.
inline constexpr u64 fs_execute = 1u << 0;
inline constexpr u64 fs_write_file = 1u << 1;
inline constexpr u64 fs_read_file = 1u << 2;
inline constexpr u64 fs_read_dir = 1u << 3;
inline constexpr u64 fs_remove_dir = 1u << 4;
inline constexpr u64 fs_remove_file = 1u << 5;
inline constexpr u64 fs_make_char = 1u << 6;
inline constexpr u64 fs_make_dir = 1u << 7;
inline constexpr u64 fs_make_reg = 1u << 8;
inline constexpr u64 fs_make_sock = 1u << 9;
inline constexpr u64 fs_make_fifo = 1u << 10;
inline constexpr u64 fs_make_block = 1u << 11;
inline constexpr u64 fs_make_sym = 1u << 12;
inline constexpr u64 fs_refer = 1u << 13;      // ABI 2, Linux 5.19
inline constexpr u64 fs_truncate = 1u << 14;   // ABI 3, Linux 6.2
inline constexpr u64 fs_ioctl_dev = 1u << 15;  // ABI 5, Linux 6.10

inline constexpr u64 net_bind_tcp = 1u << 0;  // ABI 4, Linux 6.7
inline constexpr u64 net_connect_tcp = 1u << 1;

inline constexpr u64 scope_abstract_unix_socket = 1u << 0;  // ABI 6, Linux 6.12
inline constexpr u64 scope_signal = 1u << 1;

// As long as the ABI knows it: the kernel refuses bytes that it does not know unless they are 0.
struct RulesetAttr {
    u64 handled_access_fs;
    u64 handled_access_net;
    u64 scoped;
};
static_assert(sizeof(RulesetAttr) == 24);

struct [[gnu::packed]] PathBeneathAttr {
    u64 allowed_access;
    i32 parent_fd;
};
static_assert(sizeof(PathBeneathAttr) == 12);

}  // namespace ringloop::abi::landlock
