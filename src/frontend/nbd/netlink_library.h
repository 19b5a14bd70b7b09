// libnl, loaded when the kernel's nbd driver is spoken to: linked, it would cost every start of the
// program a million instructions. `libnl.nl_send_auto(...)` is nl_send_auto(...).
#pragma once

#include <netlink/genl/ctrl.h>
#include <netlink/genl/genl.h>
#include <netlink/netlink.h>

#include "base/result.h"

// All that this frontend calls.
#define RINGLOOP_LIBNL(X)      \
    X(genl_connect)            \
    X(genl_ctrl_resolve)       \
    X(genlmsg_put)             \
    X(nl_send_auto)            \
    X(nl_socket_alloc)         \
    X(nl_socket_free)          \
    X(nl_socket_modify_err_cb) \
    X(nl_wait_for_ack)         \
    X(nla_nest_end)            \
    X(nla_nest_start)          \
    X(nla_put_string)          \
    X(nla_put_u32)             \
    X(nla_put_u64)             \
    X(nlmsg_alloc)             \
    X(nlmsg_free)

namespace ringloop::nbd {

struct NetlinkLibrary {
// NOLINTNEXTLINE(bugprone-macro-parentheses): what it declares has none
#define RINGLOOP_MEMBER(name) decltype(&::name) name;
    RINGLOOP_LIBNL(RINGLOOP_MEMBER)
#undef RINGLOOP_MEMBER
};

// Null pointers before load_libnl, constant afterwards; any thread.
extern NetlinkLibrary libnl;

// Control thread, before any other uses it; once more does nothing.
Status load_libnl();

}  // namespace ringloop::nbd
