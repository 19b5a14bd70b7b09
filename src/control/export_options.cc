#include "control/export_options.h"

#include <algorithm>
#include <nlohmann/json.hpp>

namespace ringloop::control {
namespace {

using nbd::TlsMode;
using nlohmann::json;

constexpr std::size_t path_bytes_max = 4095;  // PATH_MAX, less the zero at its end

Status check_text(const char* option, std::string_view text, std::size_t bytes_max) {
    if (text.size() > bytes_max) {
        return fail(EINVAL, "{}: {} bytes at the most", option, bytes_max);
    }
    // A NUL is not allowed in any string of the protocol, and would cut the text on its way.
    if (text.find('\0') != std::string_view::npos)
        return fail(EINVAL, "{}: holds a zero; leave it out", option);
    return {};
}

template <typename T>
Status check_range(const char* option, T value, T min, T max) {
    if (value >= min && value <= max) return {};
    return fail(EINVAL, "{} {}: use {} to {}", option, value, min, max);
}

Status check_tls(const ExportOptions& options) {
    const bool has_keys = !options.tls_certificates.empty() || !options.tls_psk.empty();
    if (options.tls == TlsMode::off) {
        if (!has_keys && options.tls_authorize.empty()) return {};
        return fail(EINVAL, "TLS has keys but is off: add --tls on or --tls require");
    }
    if (!has_keys) {
        return fail(EINVAL, "--tls {}: give the keys with --tls-certificates or --tls-psk",
                    to_text(options.tls));
    }
    if (!options.tls_certificates.empty() && !options.tls_psk.empty()) {
        return fail(EINVAL, "--tls-certificates and --tls-psk: choose one");
    }
    if (options.tls_authorize.size() > tls_authorize_max) {
        return fail(EINVAL, "--tls-authorize: {} at the most", tls_authorize_max);
    }
    if (!options.tls_authorize.empty() && options.tls_certificates.empty()) {
        return fail(EINVAL, "--tls-authorize: compares certificates; needs --tls-certificates");
    }
    return {};
}

Status check_addresses(const ExportOptions& options) {
    if (options.addresses.size() > addresses_max) {
        return fail(EINVAL, "--nbd: {} addresses at the most", addresses_max);
    }
    for (auto address = options.addresses.begin(); address != options.addresses.end(); ++address) {
        if (std::find(options.addresses.begin(), address, *address) != address) {
            return fail(EINVAL, "--nbd {}: given twice; give it once", to_text(*address));
        }
        if (!is_local(*address) && !options.insecure && options.tls != TlsMode::required) {
            return fail(EPERM,
                        "--nbd {}: other hosts could read and write the image: require TLS "
                        "(--tls require), listen on loopback, or insist with --insecure",
                        to_text(*address));
        }
    }
    return {};
}

std::optional<std::vector<std::string>> texts_of(const json& object, const char* field) {
    const auto found = object.find(field);
    if (found == object.end() || !found->is_array()) return std::nullopt;
    std::vector<std::string> texts;
    for (const json& item : *found) {
        if (!item.is_string()) return std::nullopt;
        texts.push_back(item.get<std::string>());
    }
    return texts;
}

std::optional<std::string> text_of(const json& object, const char* field) {
    const auto found = object.find(field);
    if (found == object.end() || !found->is_string()) return std::nullopt;
    return found->get<std::string>();
}

std::optional<u64> number_of(const json& object, const char* field, u64 max) {
    const auto found = object.find(field);
    if (found == object.end() || !found->is_number_unsigned()) return std::nullopt;
    const u64 number = found->get<u64>();
    return number <= max ? std::optional(number) : std::nullopt;
}

}  // namespace

Status check_export_options(const ExportOptions& options) {
    TRY(check_text("--export", options.name, nbd::name_bytes_max));
    TRY(check_text("--description", options.description, nbd::description_bytes_max));
    TRY(check_text("--tls-certificates", options.tls_certificates, path_bytes_max));
    TRY(check_text("--tls-psk", options.tls_psk, path_bytes_max));
    for (const std::string& text : options.tls_authorize) {
        TRY(check_text("--tls-authorize", text, nbd::name_bytes_max));
        if (text.empty())
            return fail(EINVAL, "--tls-authorize: the empty text matches nobody; give a name");
    }
    TRY(check_range("--max-connections", options.connections_max, 1U, connections_limit));
    TRY(check_range("--handshake-timeout", options.handshake_timeout_s, 1U,
                    handshake_timeout_s_max));
    TRY(check_range("--max-request", options.request_bytes_max, u64{request_bytes_limit_min},
                    u64{nbd::request_bytes_max}));
    TRY(check_range("--max-inflight", options.in_flight_bytes, nbd::in_flight_bytes_min,
                    nbd::in_flight_bytes_max));
    TRY(check_tls(options));
    return check_addresses(options);
}

void append_arguments(const ExportOptions& options, std::vector<std::string>& arguments) {
    const ExportOptions defaults;
    const auto add = [&](std::string_view option, const auto& value) {
        arguments.push_back(fmt::format("{}={}", option, value));
    };
    for (const Address& address : options.addresses) add("--nbd", to_text(address));
    if (!options.name.empty()) add("--export", options.name);
    if (!options.description.empty()) add("--description", options.description);
    if (options.tls != defaults.tls) add("--tls", to_text(options.tls));
    if (!options.tls_certificates.empty()) add("--tls-certificates", options.tls_certificates);
    if (!options.tls_psk.empty()) add("--tls-psk", options.tls_psk);
    for (const std::string& text : options.tls_authorize) add("--tls-authorize", text);
    if (options.insecure) arguments.emplace_back("--insecure");
    if (options.connections_max != defaults.connections_max) {
        add("--max-connections", options.connections_max);
    }
    if (options.handshake_timeout_s != defaults.handshake_timeout_s) {
        add("--handshake-timeout", options.handshake_timeout_s);
    }
    if (options.request_bytes_max != defaults.request_bytes_max) {
        add("--max-request", options.request_bytes_max);
    }
    if (options.in_flight_bytes != defaults.in_flight_bytes) {
        add("--max-inflight", options.in_flight_bytes);
    }
}

json to_json(const ExportOptions& options) {
    json addresses = json::array();
    for (const Address& address : options.addresses) addresses.push_back(to_text(address));
    return {{"addresses", addresses},
            {"export", options.name},
            {"description", options.description},
            {"tls", to_text(options.tls)},
            {"tls_certificates", options.tls_certificates},
            {"tls_psk", options.tls_psk},
            {"tls_authorize", options.tls_authorize},
            {"insecure", options.insecure},
            {"max_connections", options.connections_max},
            {"handshake_timeout_s", options.handshake_timeout_s},
            {"max_request_bytes", options.request_bytes_max},
            {"max_inflight_bytes", options.in_flight_bytes}};
}

std::optional<ExportOptions> parse_export_options(const json& object) {
    if (!object.is_object()) return std::nullopt;
    const auto addresses = texts_of(object, "addresses");
    const auto name = text_of(object, "export");
    const auto description = text_of(object, "description");
    const auto tls_text = text_of(object, "tls");
    const auto certificates = text_of(object, "tls_certificates");
    const auto psk = text_of(object, "tls_psk");
    const auto authorize = texts_of(object, "tls_authorize");
    const auto connections = number_of(object, "max_connections", connections_limit);
    const auto handshake = number_of(object, "handshake_timeout_s", handshake_timeout_s_max);
    const auto request = number_of(object, "max_request_bytes", nbd::request_bytes_max);
    const auto in_flight = number_of(object, "max_inflight_bytes", nbd::in_flight_bytes_max);
    const auto insecure = object.find("insecure");
    const bool complete = addresses && name && description && tls_text && certificates && psk &&
                          authorize && connections && handshake && request && in_flight &&
                          insecure != object.end() && insecure->is_boolean();
    if (!complete) return std::nullopt;
    const auto tls = parse_tls(*tls_text);
    if (!tls) return std::nullopt;

    ExportOptions options{.addresses = {},
                          .name = *name,
                          .description = *description,
                          .tls = *tls,
                          .tls_certificates = *certificates,
                          .tls_psk = *psk,
                          .tls_authorize = *authorize,
                          .insecure = insecure->get<bool>(),
                          .connections_max = static_cast<u32>(*connections),
                          .handshake_timeout_s = static_cast<u32>(*handshake),
                          .request_bytes_max = *request,
                          .in_flight_bytes = *in_flight};
    for (const std::string& text : *addresses) {
        auto address = parse_address(text);
        if (!address) return std::nullopt;
        options.addresses.push_back(std::move(*address));
    }
    if (!check_export_options(options)) return std::nullopt;
    return options;
}

const char* to_text(TlsMode mode) {
    switch (mode) {
        case TlsMode::off: return "off";
        case TlsMode::offered: return "on";
        case TlsMode::required: return "require";
    }
    return "off";
}

Result<TlsMode> parse_tls(std::string_view text) {
    for (const auto mode : {TlsMode::off, TlsMode::offered, TlsMode::required}) {
        if (text == to_text(mode)) return mode;
    }
    return fail(EINVAL, "--tls {}: use off, on or require", text);
}

}  // namespace ringloop::control
