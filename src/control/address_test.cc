#include "control/address.h"

#include <gtest/gtest.h>

namespace ringloop::control {
namespace {

using Kind = Address::Kind;

TEST(Address, is_read_as_people_write_it_and_written_the_same) {
    struct Case {
        const char* text;
        Address address;
    };
    const Case cases[] = {
        {"unix:/run/x.sock", {.kind = Kind::unix, .path = "/run/x.sock"}},
        {"unix:x", {.kind = Kind::unix, .path = "x"}},
        {"unix:a:b", {.kind = Kind::unix, .path = "a:b"}},
        {"tcp:10809", {.kind = Kind::tcp, .port = 10809}},
        {"tcp:1", {.kind = Kind::tcp, .port = 1}},
        {"tcp:disk.example:65535", {.kind = Kind::tcp, .host = "disk.example", .port = 65535}},
        {"tcp:192.0.2.1:10", {.kind = Kind::tcp, .host = "192.0.2.1", .port = 10}},
        {"tcp:[::1]:10809", {.kind = Kind::tcp, .host = "::1", .port = 10809}},
        {"tcp:[::]:10809", {.kind = Kind::tcp, .host = "::", .port = 10809}},
        {"vsock:10809", {.kind = Kind::vsock, .port = 10809}},
        {"vsock:4294967294", {.kind = Kind::vsock, .port = 4294967294}},
    };
    for (const Case& item : cases) {
        const auto address = parse_address(item.text);
        ASSERT_TRUE(address) << item.text << ": " << address.error().message;
        EXPECT_EQ(*address, item.address) << item.text;
        EXPECT_EQ(to_text(*address), item.text);
    }
}

TEST(Address, that_is_none_is_refused_in_one_line_that_names_it) {
    const std::string long_path = "unix:/" + std::string(107, 'x');
    for (const std::string& text : {std::string(),
                                    std::string("unix"),
                                    std::string("unix:"),
                                    std::string("/run/x.sock"),
                                    std::string("tcp:"),
                                    std::string("tcp:0"),
                                    std::string("tcp:65536"),
                                    std::string("tcp:-1"),
                                    std::string("tcp:x"),
                                    std::string("tcp:1x"),
                                    std::string("tcp:host:"),
                                    std::string("tcp::10809"),
                                    std::string("tcp:::1:10809"),
                                    std::string("tcp:[::1:10809"),
                                    std::string("tcp:::1]:10809"),
                                    std::string("tcp:[]:1"),
                                    std::string("tcp:[[::1]]:1"),
                                    std::string("tcp:[[x]]:1"),
                                    std::string("tcp:a]b:1"),
                                    std::string("tcp:a b:1"),
                                    std::string("tcp:a/b:1"),
                                    std::string("tcp:a\0b:1", 9),
                                    std::string("vsock:0"),
                                    std::string("vsock:4294967295"),
                                    std::string("vsock:2:10809"),
                                    std::string("udp:1"),
                                    std::string("unix:a\0b", 8),
                                    long_path}) {
        const auto address = parse_address(text);
        ASSERT_FALSE(address) << text;
        EXPECT_NE(address.error().message.find("address '"), std::string::npos);
        EXPECT_EQ(address.error().message.find('\n'), std::string::npos);
    }
}

TEST(Address, is_local_only_when_that_is_certain) {
    for (const char* text : {"unix:/x", "tcp:1", "tcp:localhost:1", "tcp:127.0.0.1:1",
                             "tcp:127.9.9.9:1", "tcp:[::1]:1", "vsock:1"}) {
        EXPECT_TRUE(is_local(*parse_address(text))) << text;
    }
    for (const char* text : {"tcp:0.0.0.0:1", "tcp:[::]:1", "tcp:192.0.2.1:1", "tcp:host:1",
                             "tcp:[::ffff:127.0.0.1]:1", "tcp:128.0.0.1:1"}) {
        EXPECT_FALSE(is_local(*parse_address(text))) << text;
    }
}

TEST(Uri, is_what_a_client_takes) {
    const auto uri = [](const char* text, const UriParts& parts) {
        return uri_of(*parse_address(text), parts);
    };
    EXPECT_EQ(uri("unix:/run/x.sock", {}), "nbd+unix:///?socket=/run/x.sock");
    EXPECT_EQ(uri("unix:/run/x.sock", {.export_name = "disk", .tls = true}),
              "nbds+unix:///disk?socket=/run/x.sock");
    EXPECT_EQ(uri("tcp:10809", {}), "nbd://127.0.0.1:10809/");
    EXPECT_EQ(uri("tcp:host:10", {.export_name = "a", .tls = true}), "nbds://host:10/a");
    EXPECT_EQ(uri("tcp:[::1]:10", {}), "nbd://[::1]:10/");
    EXPECT_EQ(uri("vsock:10809", {.vsock_cid = 2}), "nbd+vsock://2:10809/");
}

TEST(Uri, hides_no_byte_that_means_something_in_it) {
    EXPECT_EQ(uri_of(*parse_address("unix:/a b&c=d%?#.sock"), {.export_name = "x y?"}),
              "nbd+unix:///x%20y%3F?socket=/a%20b%26c%3Dd%25%3F%23.sock");
}

}  // namespace
}  // namespace ringloop::control
