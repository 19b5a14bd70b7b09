#include "control/export_options.h"

#include <gtest/gtest.h>

#include <nlohmann/json.hpp>

namespace ringloop::control {
namespace {

using nbd::TlsMode;
using nlohmann::json;

ExportOptions every_option() {
    return {.addresses = {*parse_address("unix:/run/x.sock"), *parse_address("tcp:[::1]:10809")},
            .name = "disk",
            .description = "a text = with, marks",
            .tls = TlsMode::required,
            .tls_certificates = "/etc/keys",
            .tls_psk = "",
            .tls_authorize = {"CN=a,O=b", "c"},
            .insecure = true,
            .connections_max = 1,
            .handshake_timeout_s = 3600,
            .request_bytes_max = 65536,
            .in_flight_bytes = nbd::in_flight_bytes_max};
}

TEST(ExportOptions, by_default_are_allowed_and_say_nothing) {
    EXPECT_TRUE(check_export_options({}));
    std::vector<std::string> arguments;
    append_arguments({}, arguments);
    EXPECT_TRUE(arguments.empty());
}

TEST(ExportOptions, are_read_back_from_the_state_file) {
    for (const ExportOptions& options : {ExportOptions{}, every_option()}) {
        const auto read = parse_export_options(to_json(options));
        ASSERT_TRUE(read);
        EXPECT_EQ(*read, options);
    }
}

TEST(ExportOptions, without_any_one_of_their_fields_are_refused) {
    const json whole = to_json(every_option());
    for (const auto& [field, value] : whole.items()) {
        json object = whole;
        object.erase(field);
        EXPECT_FALSE(parse_export_options(object)) << field;
        object[field] = json::object();
        EXPECT_FALSE(parse_export_options(object)) << field;
    }
    EXPECT_FALSE(parse_export_options("text"));
}

TEST(ExportOptions, that_nobody_can_serve_are_refused_and_named) {
    struct Case {
        const char* named;
        void (*spoil)(ExportOptions&);
    };
    const Case cases[] = {
        {"--export", [](ExportOptions& o) { o.name = std::string(4097, 'x'); }},
        {"--export", [](ExportOptions& o) { o.name = std::string("a\0b", 3); }},
        {"--description", [](ExportOptions& o) { o.description = std::string(4097, 'x'); }},
        {"--max-connections 0", [](ExportOptions& o) { o.connections_max = 0; }},
        {"--max-connections 65537", [](ExportOptions& o) { o.connections_max = 65537; }},
        {"--handshake-timeout 0", [](ExportOptions& o) { o.handshake_timeout_s = 0; }},
        {"--max-request 65535", [](ExportOptions& o) { o.request_bytes_max = 65535; }},
        {"--max-request 33554433", [](ExportOptions& o) { o.request_bytes_max = 33554433; }},
        {"--max-inflight 1", [](ExportOptions& o) { o.in_flight_bytes = 1; }},
        {"TLS has keys", [](ExportOptions& o) { o.tls = TlsMode::off; }},
        {"give the keys", [](ExportOptions& o) { o.tls_certificates.clear(); }},
        {"choose one", [](ExportOptions& o) { o.tls_psk = "keys"; }},
        {"needs --tls-certificates",
         [](ExportOptions& o) { o.tls_certificates.clear(), o.tls_psk = "keys"; }},
        {"--tls-authorize", [](ExportOptions& o) { o.tls_authorize = {""}; }},
        {"given twice", [](ExportOptions& o) { o.addresses.push_back(o.addresses.front()); }},
    };
    for (const Case& spoiled : cases) {
        ExportOptions options = every_option();
        spoiled.spoil(options);
        const Status status = check_export_options(options);
        ASSERT_FALSE(status) << spoiled.named;
        EXPECT_NE(status.error().message.find(spoiled.named), std::string::npos)
            << status.error().message;
    }
}

TEST(ExportOptions, let_other_hosts_in_only_with_tls_or_on_purpose) {
    ExportOptions options{.addresses = {*parse_address("tcp:0.0.0.0:10809")}};
    const Status refused = check_export_options(options);
    ASSERT_FALSE(refused);
    EXPECT_NE(refused.error().message.find("--insecure"), std::string::npos);
    options.insecure = true;
    EXPECT_TRUE(check_export_options(options));
    options.insecure = false;
    options.tls_psk = "keys";
    options.tls = TlsMode::offered;  // a client may do without
    EXPECT_FALSE(check_export_options(options));
    options.tls = TlsMode::required;
    EXPECT_TRUE(check_export_options(options));
}

TEST(TlsMode, is_read_back_from_its_text) {
    for (const auto mode : {TlsMode::off, TlsMode::offered, TlsMode::required}) {
        EXPECT_EQ(parse_tls(to_text(mode)), mode);
    }
    EXPECT_FALSE(parse_tls("maybe"));
}

}  // namespace
}  // namespace ringloop::control
