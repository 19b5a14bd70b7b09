#include "frontend/nbd/gnutls_library.h"

#include "base/library.h"

namespace ringloop::nbd {

namespace {

#define RINGLOOP_NAME(name) "gnutls_" #name,
constexpr std::array symbols = {RINGLOOP_GNUTLS(RINGLOOP_NAME)};
#undef RINGLOOP_NAME

}  // namespace

constinit GnutlsLibrary gnutls = {};

Status load_gnutls() {
    if (gnutls.init) return {};
    const auto loaded = load_library<GnutlsLibrary>(
        {"libgnutls.so.30", "libgnutls30", "do without TLS: --tls off"}, symbols);
    if (!loaded) return std::unexpected(loaded.error());
    gnutls = *loaded;
    return {};
}

}  // namespace ringloop::nbd
