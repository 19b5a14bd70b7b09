#include "control/landlock.h"

#include <fcntl.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "abi/landlock.h"

namespace ringloop::control {
namespace {

namespace abi = abi::landlock;

constexpr u32 version_of_refer = 2;
constexpr u32 version_of_truncate = 3;
constexpr u32 version_of_network = 4;
constexpr u32 version_of_ioctl = 5;
constexpr u32 version_of_scopes = 6;

u64 access_of(u32 version) {
    u64 access = (abi::fs_make_sym << 1) - 1;  // the first thirteen
    if (version >= version_of_refer) access |= abi::fs_refer;
    if (version >= version_of_truncate) access |= abi::fs_truncate;
    if (version >= version_of_ioctl) access |= abi::fs_ioctl_dev;
    return access;
}

u64 access_of(Landlock::Allow what) {
    switch (what) {
        case Landlock::Allow::read: return abi::fs_read_file | abi::fs_read_dir;
        case Landlock::Allow::device:
            return abi::fs_read_file | abi::fs_write_file | abi::fs_ioctl_dev;
        case Landlock::Allow::write:
            return abi::fs_read_file | abi::fs_read_dir | abi::fs_write_file | abi::fs_make_reg |
                   abi::fs_remove_file | abi::fs_truncate;
        case Landlock::Allow::remove: return abi::fs_remove_file;
    }
    return 0;
}

}  // namespace

Result<u32> landlock_version() {
    const long version =
        ::syscall(abi::create_ruleset_call, nullptr, std::size_t{0}, abi::create_ruleset_version);
    if (version >= 1) return static_cast<u32>(version);
    if (errno == EOPNOTSUPP) {
        return fail(errno, "landlock is not enabled; add it to lsm= on the kernel's command line");
    }
    if (errno == ENOSYS) {
        return fail(errno, "this kernel was built without landlock (CONFIG_SECURITY_LANDLOCK)");
    }
    return fail_errno(errno, "landlock");
}

Result<Landlock> Landlock::create(bool signals) {
    const auto version = landlock_version();
    if (!version) return std::unexpected(version.error());
    abi::RulesetAttr rules{
        .handled_access_fs = access_of(*version), .handled_access_net = 0, .scoped = 0};
    if (*version >= version_of_network) {
        rules.handled_access_net = abi::net_bind_tcp | abi::net_connect_tcp;
    }
    if (*version >= version_of_scopes) {
        rules.scoped = abi::scope_abstract_unix_socket;
        if (!signals) rules.scoped |= abi::scope_signal;
    }
    UniqueFd fd(
        static_cast<int>(::syscall(abi::create_ruleset_call, &rules, sizeof rules, u32{0})));
    if (!fd) return fail_errno(errno, "landlock");
    return Landlock(std::move(fd), rules.handled_access_fs);
}

Status Landlock::allow(int fd, Allow what) const {
    const abi::PathBeneathAttr rule{.allowed_access = access_of(what) & handled_, .parent_fd = fd};
    if (::syscall(abi::add_rule_call, rules_.get(), abi::rule_path_beneath, &rule, u32{0}) != 0) {
        return fail_errno(errno, "landlock_add_rule");
    }
    return {};
}

Status Landlock::allow(const std::string& path, Allow what) const {
    const UniqueFd fd(::open(path.c_str(), O_PATH | O_CLOEXEC));
    if (!fd) return {};
    return allow(fd.get(), what);
}

Status Landlock::enter() const {
    if (::syscall(abi::restrict_self_call, rules_.get(), u32{0}) != 0) {
        return fail_errno(errno, "landlock_restrict_self");
    }
    return {};
}

}  // namespace ringloop::control
