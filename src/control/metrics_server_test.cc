#include "control/metrics_server.h"

#include <arpa/inet.h>
#include <gtest/gtest.h>
#include <netinet/in.h>
#include <poll.h>
#include <sys/socket.h>

#include <stdexcept>

namespace ringloop::control {
namespace {

constexpr u64 patience_ms = 10'000;

TEST(MetricsAddress, is_one_of_loopback) {
    EXPECT_EQ(parse_metrics_address("9100")->host, "");
    EXPECT_EQ(parse_metrics_address("9100")->port, 9100u);
    EXPECT_EQ(parse_metrics_address("localhost:1")->host, "");
    EXPECT_EQ(parse_metrics_address("127.0.0.1:1")->host, "127.0.0.1");
    EXPECT_EQ(parse_metrics_address("[::1]:65535")->host, "::1");
    for (const char* text : {"", "0", "65536", "x", ":1", "127.0.0.1", "::1:80", "unix:x", "1 "}) {
        const auto address = parse_metrics_address(text);
        ASSERT_FALSE(address) << text;
        EXPECT_NE(address.error().message.find("use PORT"), std::string::npos) << text;
    }
    EXPECT_FALSE(parse_metrics_address(std::string(1000, '0') + "9100"));
    for (const char* text : {"0.0.0.0:9100", "[::]:9100", "127.0.0.2:9100", "example.org:1"}) {
        const auto address = parse_metrics_address(text);
        ASSERT_FALSE(address) << text;
        EXPECT_NE(address.error().message.find("other hosts"), std::string::npos) << text;
    }
}

class MetricsServerTest : public testing::Test {
protected:
    MetricsServerTest() {
        port_ = free_port();
        auto server = MetricsServer::listen(
            {.kind = Address::Kind::tcp, .host = "127.0.0.1", .port = port_}, patience_ms);
        if (!server) throw std::runtime_error(server.error().message);  // none to test
        server_ = std::move(*server);
    }

    // One that nobody has now: that somebody takes it in between would be a rare chance.
    static u32 free_port() {
        const UniqueFd probe(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        sockaddr_in any = loopback(0);
        socklen_t size = sizeof any;
        EXPECT_EQ(::bind(probe.get(), reinterpret_cast<sockaddr*>(&any), size), 0);
        EXPECT_EQ(::getsockname(probe.get(), reinterpret_cast<sockaddr*>(&any), &size), 0);
        return ntohs(any.sin_port);
    }

    static sockaddr_in loopback(u32 port) {
        sockaddr_in address{};
        address.sin_family = AF_INET;
        address.sin_port = htons(static_cast<u16>(port));
        address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
        return address;
    }

    UniqueFd connect() const {
        UniqueFd fd(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
        const sockaddr_in address = loopback(port_);
        EXPECT_EQ(::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address), sizeof address),
                  0);
        return fd;
    }

    static void say(const UniqueFd& fd, std::string_view text) {
        EXPECT_EQ(::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL),
                  static_cast<ssize_t>(text.size()));
    }

    // Whether the server has something to do.
    bool stirs(int timeout_ms = 0) const {
        pollfd waiting{server_->fd(), POLLIN, 0};
        return ::poll(&waiting, 1, timeout_ms) == 1;
    }

    // What the client reads until the end, while the server does what there is to do.
    std::string hear(const UniqueFd& fd) const {
        std::string text;
        for (const Deadline deadline(patience_ms); !deadline.passed();) {
            if (stirs(10)) server_->attend([this] { return body_; });
            std::string part(64 * 1024, '\0');
            const ssize_t length = ::recv(fd.get(), part.data(), part.size(), MSG_DONTWAIT);
            if (length > 0) text.append(part, 0, static_cast<std::size_t>(length));
            if (length == 0 || (length < 0 && errno == ECONNRESET)) return text;
        }
        ADD_FAILURE() << "no end after " << text.size() << " bytes";
        return text;
    }

    u32 port_ = 0;
    std::string body_ = "a 1\n";
    std::unique_ptr<MetricsServer> server_;
};

TEST_F(MetricsServerTest, answers_a_request_that_comes_in_pieces) {
    const UniqueFd client = connect();
    for (const char piece : std::string("GET /metrics HTTP/1.1\r\nHost: x\r\n\r")) {
        say(client, std::string(1, piece));
        if (stirs(10)) server_->attend([] { return std::string("too early"); });
    }
    say(client, "\n");
    EXPECT_TRUE(hear(client).ends_with("\r\n\r\na 1\n"));
}

TEST_F(MetricsServerTest, sleeps_without_clients_and_when_they_have_gone) {
    EXPECT_FALSE(stirs(50));
    {
        const UniqueFd client = connect();
        say(client, "GET /metrics HTTP/1.1\r\n\r\n");
        EXPECT_NE(hear(client), "");
    }
    for (const Deadline deadline(patience_ms); stirs(50) && !deadline.passed();) {
        server_->attend([] { return std::string(); });
    }
    // Nor does the deadline of the one who has gone wake it.
    EXPECT_FALSE(stirs(MetricsServer::client_timeout_ms + 200));
}

TEST_F(MetricsServerTest, lets_go_of_a_client_that_says_nothing) {
    const UniqueFd client = connect();
    const Deadline deadline(patience_ms);
    EXPECT_EQ(hear(client), "");
    EXPECT_LT(deadline.left_ms(), patience_ms - MetricsServer::client_timeout_ms + 100);
}

TEST_F(MetricsServerTest, answers_others_while_one_does_not_read) {
    body_.assign(16 * 1024 * 1024, 'x');  // more than the socket takes
    const UniqueFd slow = connect();
    say(slow, "GET /metrics HTTP/1.1\r\n\r\n");
    const UniqueFd other = connect();
    say(other, "GET / HTTP/1.1\r\n\r\n");
    EXPECT_TRUE(hear(other).starts_with("HTTP/1.1 404 "));
    // It is cut off after its time, in the middle.
    for (const Deadline deadline(patience_ms); !deadline.passed() && stirs(6'000);) {
        server_->attend([] { return std::string(); });
    }
    EXPECT_LT(hear(slow).size(), body_.size());
}

TEST_F(MetricsServerTest, answers_the_newest_of_more_clients_than_it_keeps) {
    std::vector<UniqueFd> silent;
    for (u32 i = 0; i < 3 * MetricsServer::http_clients_max; ++i) silent.push_back(connect());
    const UniqueFd client = connect();
    say(client, "GET /metrics HTTP/1.1\r\n\r\n");
    EXPECT_TRUE(hear(client).ends_with("a 1\n"));
    EXPECT_EQ(hear(silent.front()), "") << "the oldest made room";
}

TEST_F(MetricsServerTest, says_what_is_wrong_to_one_who_sends_too_much) {
    const UniqueFd client = connect();
    say(client, "GET /metrics HTTP/1.1\r\nX: " + std::string(256 * 1024, 'x'));
    EXPECT_EQ(::shutdown(client.get(), SHUT_WR), 0);
    EXPECT_TRUE(hear(client).starts_with("HTTP/1.1 431 "));
}

TEST_F(MetricsServerTest, refuses_a_port_that_somebody_has) {
    const auto second =
        MetricsServer::listen({.kind = Address::Kind::tcp, .host = "127.0.0.1", .port = port_}, 0);
    ASSERT_FALSE(second);
    EXPECT_EQ(second.error().number, EADDRINUSE);
}

}  // namespace
}  // namespace ringloop::control
