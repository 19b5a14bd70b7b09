#include "control/address.h"

#include <arpa/inet.h>

#include <algorithm>
#include <charconv>

namespace ringloop::control {
namespace {

constexpr u32 tcp_port_max = 65535;
constexpr u32 vsock_port_max = ~u32{0} - 1;  // the last is VMADDR_PORT_ANY
// sun_path less the zero at its end (unix(7)). Longer ones could be reached through a descriptor
// of their directory, but no client would do that.
constexpr std::size_t unix_path_chars_max = 107;

std::unexpected<Error> malformed(std::string_view text, const char* what) {
    return fail(EINVAL,
                "address '{}': {}; write unix:PATH, tcp:PORT, tcp:HOST:PORT, tcp:[ADDRESS]:PORT or "
                "vsock:PORT",
                text, what);
}

bool parse_port(std::string_view text, u32 max, u32& port) {
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), port);
    return error == std::errc{} && end == text.data() + text.size() && port >= 1 && port <= max;
}

Result<Address> parse_unix(std::string_view text, std::string_view path) {
    if (path.empty()) return malformed(text, "the path is missing");
    if (path.find('\0') != std::string_view::npos) return malformed(text, "a zero in the path");
    if (path.size() > unix_path_chars_max) {
        return malformed(text, "the path of a socket has 107 characters at the most");
    }
    return Address{.kind = Address::Kind::unix, .path = std::string(path)};
}

// What is in no name and no number of a host, and would be taken for something else where one is
// written: in this text, in a URI, by a system call.
bool foreign_to_host(char c) {
    constexpr std::string_view marks = "[]/?#@\\\x7f";
    return static_cast<unsigned char>(c) <= ' ' || marks.find(c) != std::string_view::npos;
}

Result<Address> parse_tcp(std::string_view text, std::string_view rest) {
    Address address{.kind = Address::Kind::tcp};
    const std::size_t colon = rest.rfind(':');
    std::string_view port = rest;
    if (colon != std::string_view::npos) {
        std::string_view host = rest.substr(0, colon);
        port = rest.substr(colon + 1);
        if (host.starts_with('[') != host.ends_with(']')) {
            return malformed(text, "a bracket is missing");
        }
        const bool in_brackets = host.starts_with('[');
        if (in_brackets) host = host.substr(1, host.size() - 2);
        if (host.empty()) return malformed(text, "the host is missing");
        // Without brackets nobody could tell where a numeric host ends.
        if (!in_brackets && host.find(':') != std::string_view::npos) {
            return malformed(text, "an IPv6 address stands in brackets");
        }
        if (std::ranges::any_of(host, foreign_to_host)) {
            return malformed(text, "no host is called like that");
        }
        address.host = host;
    }
    if (!parse_port(port, tcp_port_max, address.port)) {
        return malformed(text, "a TCP port is a number from 1 to 65535");
    }
    return address;
}

// A numeric host of IPv6 has colons, so brackets tell where it ends.
std::string bracketed(const std::string& host) {
    return host.find(':') == std::string::npos ? host : "[" + host + "]";
}

// What may stand in a path or a query of a URI as it is (RFC 3986, "pchar" and "/", less what has
// a meaning in a query).
bool stays(char c) {
    constexpr std::string_view marks = "-._~/:@!$'()*,";
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           marks.find(c) != std::string_view::npos;
}

std::string percent_encoded(std::string_view text) {
    std::string encoded;
    for (const char c : text) {
        if (stays(c)) {
            encoded.push_back(c);
        } else {
            encoded += fmt::format("%{:02X}", static_cast<unsigned char>(c));
        }
    }
    return encoded;
}

}  // namespace

Result<Address> parse_address(std::string_view text) {
    const std::size_t colon = text.find(':');
    const std::string_view kind = text.substr(0, colon);
    if (colon == std::string_view::npos) return malformed(text, "its kind is missing");
    const std::string_view rest = text.substr(colon + 1);
    if (kind == "unix") return parse_unix(text, rest);
    if (kind == "tcp") return parse_tcp(text, rest);
    if (kind != "vsock") return malformed(text, "unknown kind");
    Address address{.kind = Address::Kind::vsock};
    if (!parse_port(rest, vsock_port_max, address.port)) {
        return malformed(text, "a vsock port is a number from 1 to 4294967294");
    }
    return address;
}

std::string to_text(const Address& address) {
    switch (address.kind) {
        case Address::Kind::unix: return "unix:" + address.path;
        case Address::Kind::vsock: return fmt::format("vsock:{}", address.port);
        case Address::Kind::tcp: break;
    }
    if (address.host.empty()) return fmt::format("tcp:{}", address.port);
    return fmt::format("tcp:{}:{}", bracketed(address.host), address.port);
}

bool is_local(const Address& address) {
    if (address.kind != Address::Kind::tcp) return true;
    if (address.host.empty() || address.host == "localhost") return true;
    in_addr v4{};
    if (::inet_pton(AF_INET, address.host.c_str(), &v4) == 1) {
        return (ntohl(v4.s_addr) >> 24) == IN_LOOPBACKNET;
    }
    in6_addr v6{};
    return ::inet_pton(AF_INET6, address.host.c_str(), &v6) == 1 && IN6_IS_ADDR_LOOPBACK(&v6);
}

std::string uri_of(const Address& address, const UriParts& parts) {
    const char* scheme = parts.tls ? "nbds" : "nbd";
    const std::string name = percent_encoded(parts.export_name);
    switch (address.kind) {
        case Address::Kind::unix:
            return fmt::format("{}+unix:///{}?socket={}", scheme, name,
                               percent_encoded(address.path));
        case Address::Kind::vsock:
            return fmt::format("{}+vsock://{}:{}/{}", scheme, parts.vsock_cid, address.port, name);
        case Address::Kind::tcp: break;
    }
    const std::string host = address.host.empty() ? "127.0.0.1" : address.host;
    return fmt::format("{}://{}:{}/{}", scheme, bracketed(host), address.port, name);
}

}  // namespace ringloop::control
