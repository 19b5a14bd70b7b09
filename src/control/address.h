// Where an NBD server listens, as people write it: "unix:/run/x.sock", "tcp:10809" (loopback, both
// families), "tcp:host:10809", "tcp:[::1]:10809", "vsock:10809". Text in, values out: no system
// call here.
#pragma once

#include <string>
#include <string_view>

#include "base/int.h"
#include "base/result.h"

namespace ringloop::control {

struct Address {
    enum class Kind : u8 { unix, tcp, vsock };
    Kind kind = Kind::unix;
    std::string path;  // unix: absolute, or relative to the working directory of the reader
    std::string host;  // tcp: a name or a number without brackets; empty: loopback
    u32 port = 0;      // tcp: 1 to 65535; vsock: 1 to 2^32-2

    bool operator==(const Address&) const = default;
};

// Errors name the text and show how it is written.
Result<Address> parse_address(std::string_view text);
// parse_address reads it back.
std::string to_text(const Address& address);

// Whether nobody but this host (or, for vsock, its own guests) can connect. A host name other than
// localhost may mean anything, so it is not known to be one.
bool is_local(const Address& address);

// How a client names the export: the NBD URI specification (doc/uri.md of the NBD project).
struct UriParts {
    std::string export_name;
    bool tls = false;   // "nbds": the client has to insist on it
    u32 vsock_cid = 0;  // of this host
};
std::string uri_of(const Address& address, const UriParts& parts);

}  // namespace ringloop::control
