// What a person may choose about serving a device to NBD clients, checked, as arguments of `serve`,
// and as a part of the state file.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "control/address.h"
#include "frontend/nbd/limits.h"
#include "frontend/nbd/negotiate.h"

namespace ringloop::control {

inline constexpr u32 addresses_max = 64;
inline constexpr u32 connections_limit = 65'536;
inline constexpr u32 handshake_timeout_s_max = 3600;
inline constexpr u32 request_bytes_limit_min = 64 * kib;  // a read of this length has to work
inline constexpr u32 tls_authorize_max = 256;

struct ExportOptions {
    std::vector<Address> addresses;  // empty: none beside the transport, or the default socket
    std::string name;                // the empty name means the export too
    std::string description;
    nbd::TlsMode tls = nbd::TlsMode::off;
    std::string tls_certificates;  // a folder; this and the next as written, like the image
    std::string tls_psk;           // a file
    std::vector<std::string> tls_authorize;
    bool insecure = false;  // TCP for other hosts without TLS
    u32 connections_max = nbd::connections_max;
    u32 handshake_timeout_s = nbd::handshake_deadline_ms / 1000;
    u64 request_bytes_max = nbd::request_bytes_max;
    u64 in_flight_bytes = nbd::in_flight_bytes_default;  // of large buffers of one connection

    bool operator==(const ExportOptions&) const = default;
};

// Everything that can be known to be wrong without asking the system.
Status check_export_options(const ExportOptions& options);

// "--nbd=unix:/x" and so on: what differs from the defaults.
void append_arguments(const ExportOptions& options, std::vector<std::string>& arguments);

nlohmann::json to_json(const ExportOptions& options);
// nullopt: a field is missing, of another kind, or not allowed.
std::optional<ExportOptions> parse_export_options(const nlohmann::json& object);

// "off", "on", "require". The error names the choices.
const char* to_text(nbd::TlsMode mode);
Result<nbd::TlsMode> parse_tls(std::string_view text);

}  // namespace ringloop::control
