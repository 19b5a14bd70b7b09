#include "control/http.h"

#include <gtest/gtest.h>

namespace ringloop::control {
namespace {

TEST(Http, is_answered_once_the_header_has_ended) {
    const std::string request = "GET /metrics HTTP/1.1\r\nHost: localhost\r\n\r\n";
    for (std::size_t length = 0; length < request.size(); ++length) {
        EXPECT_FALSE(http_status_of(request.substr(0, length))) << length;
    }
    EXPECT_EQ(http_status_of(request), 200u);
    EXPECT_EQ(http_status_of("GET /metrics?x=1 HTTP/1.0\n\n"), 200u);
}

TEST(Http, that_asks_for_something_else_hears_what_is_wrong) {
    struct Case {
        const char* line;
        u32 status;
    };
    for (const auto& [line, status] : {Case{"GET / HTTP/1.1", 404},
                                       {"GET /metrics/ HTTP/1.1", 404},
                                       {"GET http://x/metrics HTTP/1.1", 404},
                                       {"POST /metrics HTTP/1.1", 405},
                                       {"HEAD /metrics HTTP/1.1", 405},
                                       {"POST / HTTP/1.1", 404},
                                       {"GET /metrics HTTP/2.0", 505},
                                       {"GET /metrics", 400},
                                       {"GET  HTTP/1.1", 400},
                                       {"GET /a b HTTP/1.1", 400},
                                       {"G\x01T /metrics HTTP/1.1", 400},
                                       {" /metrics HTTP/1.1", 400},
                                       {"", 400},
                                       {"\x16\x03\x01", 400}}) {
        EXPECT_EQ(http_status_of(std::string(line) + "\r\n\r\n"), status) << line;
    }
}

TEST(Http, that_is_too_long_is_refused_ended_or_not) {
    std::string request = "GET /metrics HTTP/1.1\r\nX: ";
    request.resize(http_request_bytes_max, 'x');
    EXPECT_FALSE(http_status_of(request));
    request.push_back('x');
    EXPECT_EQ(http_status_of(request), 431u);
    EXPECT_EQ(http_status_of(request + "\r\n\r\n"), 431u);
}

TEST(Http, response_says_how_long_it_is) {
    const std::string response = http_response(200, "a 1\n");
    EXPECT_TRUE(response.starts_with("HTTP/1.1 200 OK\r\n"));
    EXPECT_TRUE(response.ends_with("\r\n\r\na 1\n"));
    EXPECT_NE(response.find("Content-Type: text/plain; version=0.0.4; charset=utf-8\r\n"),
              std::string::npos);
    EXPECT_NE(response.find("Content-Length: 4\r\n"), std::string::npos);
    const std::string refused = http_response(405);
    EXPECT_NE(refused.find("Allow: GET\r\n"), std::string::npos);
    EXPECT_TRUE(refused.ends_with("\r\n\r\n405 Method Not Allowed\n"));
}

}  // namespace
}  // namespace ringloop::control
