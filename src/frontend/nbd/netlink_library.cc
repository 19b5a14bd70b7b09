#include "frontend/nbd/netlink_library.h"

#include "base/library.h"

namespace ringloop::nbd {

namespace {

#define RINGLOOP_NAME(name) #name,
constexpr std::array symbols = {RINGLOOP_LIBNL(RINGLOOP_NAME)};
#undef RINGLOOP_NAME

}  // namespace

constinit NetlinkLibrary libnl = {};

// It is linked with libnl-3.so.200, so the functions of both are found in it.
Status load_libnl() {
    if (libnl.nl_socket_alloc) return {};
    const auto loaded = load_library<NetlinkLibrary>(
        {"libnl-genl-3.so.200", "libnl-genl-3-200", "use --transport ublk or socket"}, symbols);
    if (!loaded) return std::unexpected(loaded.error());
    libnl = *loaded;
    return {};
}

}  // namespace ringloop::nbd
