#include "control/metrics_server.h"

#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/timerfd.h>

#include <algorithm>
#include <array>

#include "base/log.h"
#include "control/http.h"
#include "control/listening.h"

namespace ringloop::control {
namespace {

constexpr std::size_t text_chars_max = 64;  // "localhost:65535" and the like are shorter
constexpr u64 deaf_ms = 1'000;
// What a client may send behind its request before the connection is cut: until then it is read and
// forgotten, because an unread byte would take the answer from it (TCP resets).
constexpr std::size_t excess_bytes_max = 4 * 1024 * 1024;
constexpr int accepts_at_once = 64;  // then the control thread looks at others
constexpr std::size_t part_bytes = 16 * 1024;

bool would_block(int number) { return number == EAGAIN || number == EINTR; }

Status set_events(int epoll, int operation, int fd, u32 events) {
    epoll_event event{.events = events, .data = {}};
    if (::epoll_ctl(epoll, operation, fd, &event) == 0) return {};
    return fail_errno(errno, "cannot serve metrics");
}

}  // namespace

struct MetricsServer::Client {
    enum class Phase : u8 { request, response, excess, gone };

    UniqueFd fd;
    Deadline deadline{client_timeout_ms};
    Phase phase = Phase::request;
    std::string text{};  // of the request, then what is left of the response
    std::size_t excess_bytes = 0;

    void advance(const std::function<std::string()>& body) {
        if (phase == Phase::request) read_request(body);
        if (phase == Phase::response) write_response();
        if (phase == Phase::excess) read_excess();
        if (deadline.passed()) phase = Phase::gone;
    }
    u32 wanted_events() const { return phase == Phase::response ? u32{EPOLLOUT} : u32{EPOLLIN}; }

private:
    // One part at a time: a client that sends without end must not have the thread for itself.
    std::optional<std::size_t> read_part(std::array<char, part_bytes>& part) {
        const ssize_t length = ::recv(fd.get(), part.data(), part.size(), 0);
        if (length > 0) return static_cast<std::size_t>(length);
        if (length == 0 || !would_block(errno)) phase = Phase::gone;
        return std::nullopt;
    }

    void read_request(const std::function<std::string()>& body) {
        std::array<char, part_bytes> part;
        const auto length = read_part(part);
        if (!length) return;
        text.append(part.data(), *length);
        const auto status = http_status_of(text);
        if (!status) return;
        text = http_response(*status, *status == 200 ? body() : "");
        phase = Phase::response;
    }

    void write_response() {
        const ssize_t length = ::send(fd.get(), text.data(), text.size(), MSG_NOSIGNAL);
        if (length < 0) {
            if (!would_block(errno)) phase = Phase::gone;
            return;
        }
        text.erase(0, static_cast<std::size_t>(length));
        if (!text.empty()) return;
        text.shrink_to_fit();
        ::shutdown(fd.get(), SHUT_WR);
        phase = Phase::excess;
    }

    void read_excess() {
        std::array<char, part_bytes> part;
        excess_bytes += read_part(part).value_or(0);
        if (excess_bytes > excess_bytes_max) phase = Phase::gone;
    }
};

Result<Address> parse_metrics_address(std::string_view text) {
    auto address = parse_address(fmt::format("tcp:{}", text));
    if (!address || text.size() > text_chars_max) {
        return fail(EINVAL, "--metrics '{}': use PORT, 127.0.0.1:PORT or [::1]:PORT", text);
    }
    const std::string& host = address->host;
    if (host == "localhost") address->host.clear();
    if (host.empty() || host == "127.0.0.1" || host == "::1") return address;
    return fail(EINVAL,
                "--metrics '{}': other hosts could read them, without TLS or a password: use PORT, "
                "127.0.0.1:PORT or [::1]:PORT, and a proxy in front of it where that is wanted",
                text);
}

MetricsServer::MetricsServer(UniqueFd epoll, UniqueFd timer)
    : epoll_(std::move(epoll)), timer_(std::move(timer)) {}

MetricsServer::~MetricsServer() = default;

Result<std::unique_ptr<MetricsServer>> MetricsServer::listen(const Address& address,
                                                             u64 patience_ms) {
    auto sockets = listen_on(address, {.patience_ms = patience_ms});
    if (!sockets) {
        return fail(sockets.error().number, "--metrics: {}", sockets.error().message);
    }
    UniqueFd epoll(::epoll_create1(EPOLL_CLOEXEC));
    UniqueFd timer(::timerfd_create(CLOCK_MONOTONIC, TFD_CLOEXEC | TFD_NONBLOCK));
    if (!epoll || !timer) return fail_errno(errno, "cannot serve metrics");
    TRY(set_events(epoll.get(), EPOLL_CTL_ADD, timer.get(), EPOLLIN));
    std::unique_ptr<MetricsServer> server(new MetricsServer(std::move(epoll), std::move(timer)));
    for (Listening& socket : *sockets) {
        const Listener& listener = server->listeners_.emplace_back(socket.take_socket(), true);
        TRY(set_events(server->fd(), EPOLL_CTL_ADD, listener.fd.get(), EPOLLIN));
    }
    return server;
}

void MetricsServer::attend(const std::function<std::string()>& text) {
    u64 expirations = 0;
    [[maybe_unused]] const ssize_t read =
        ::read(timer_.get(), &expirations, sizeof expirations);  // or it stays readable
    for (const auto& client : clients_) client->advance(text);
    if (deaf_ && deaf_->passed()) {
        deaf_.reset();
        watch_listeners(true);
    }
    for (const Listener& listener : listeners_) {
        if (!deaf_) accept_clients(listener, text);
    }
    std::erase_if(clients_,
                  [](const auto& client) { return client->phase == Client::Phase::gone; });
    for (const auto& client : clients_) {
        // Cannot fail: it is known since it came.
        static_cast<void>(
            set_events(fd(), EPOLL_CTL_MOD, client->fd.get(), client->wanted_events()));
    }
    set_timer();
}

// Each is attended to before the next one comes, so that those who ask and take their answer at
// once are served however many others sit there and wait.
void MetricsServer::accept_clients(const Listener& listener,
                                   const std::function<std::string()>& text) {
    for (int i = 0; i < accepts_at_once; ++i) {
        UniqueFd fd(::accept4(listener.fd.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
        if (!fd && (would_block(errno) || errno == ECONNABORTED)) return;
        if (!fd || !set_events(this->fd(), EPOLL_CTL_ADD, fd.get(), EPOLLIN)) {
            log::warning("metrics: cannot accept a connection: {}; trying again in {} ms",
                         errno_text(errno), deaf_ms);
            deaf_.emplace(deaf_ms);
            return watch_listeners(false);
        }
        if (clients_.size() == http_clients_max) clients_.erase(clients_.begin());
        auto client = std::make_unique<Client>(Client{.fd = std::move(fd)});
        client->advance(text);
        clients_.push_back(std::move(client));
    }
}

// One that cannot be accepted stays readable, and the thread would never sleep.
void MetricsServer::watch_listeners(bool watched) {
    for (Listener& listener : listeners_) {
        if (std::exchange(listener.watched, watched) == watched) continue;
        static_cast<void>(
            set_events(fd(), EPOLL_CTL_MOD, listener.fd.get(), watched ? u32{EPOLLIN} : 0));
    }
}

void MetricsServer::set_timer() const {
    std::optional<u64> left_ms;
    if (!clients_.empty()) left_ms = clients_.front()->deadline.left_ms();
    if (deaf_) left_ms = std::min(left_ms.value_or(deaf_ms), deaf_->left_ms());
    itimerspec at{};
    // Never 0, which would mean never.
    if (left_ms)
        at.it_value = {static_cast<time_t>(*left_ms / 1000),
                       static_cast<long>(*left_ms % 1000 * 1'000'000 + 1)};
    ::timerfd_settime(timer_.get(), 0, &at, nullptr);
}

}  // namespace ringloop::control
