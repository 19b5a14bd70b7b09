// Metrics over HTTP, on loopback: for Prometheus, beside the control socket and on its thread. A
// request and its answer have client_timeout_ms together, so no client holds up anybody: nothing
// here waits. Without clients nothing wakes up.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "control/address.h"
#include "control/wait.h"

namespace ringloop::control {

// "9100" (127.0.0.1 and ::1), "127.0.0.1:9100", "[::1]:9100", "localhost:9100". Other hosts may not
// read them: there is neither TLS nor a password. The error says how it is written.
Result<Address> parse_metrics_address(std::string_view text);

class MetricsServer {
public:
    static constexpr u32 http_clients_max = 16;  // the oldest makes room
    static constexpr u64 client_timeout_ms = 5'000;

    // `patience_ms`: see ListenOptions. EADDRINUSE: somebody listens there.
    static Result<std::unique_ptr<MetricsServer>> listen(const Address& address, u64 patience_ms);
    ~MetricsServer();

    // Readable when there is something to attend to.
    int fd() const { return epoll_.get(); }
    // Does what can be done without waiting. `text` makes the body of an answer.
    void attend(const std::function<std::string()>& text);

private:
    struct Client;
    struct Listener {
        UniqueFd fd;
        bool watched = false;
    };

    MetricsServer(UniqueFd epoll, UniqueFd timer);
    void watch_listeners(bool watched);
    void accept_clients(const Listener& listener, const std::function<std::string()>& text);
    void set_timer() const;

    UniqueFd epoll_;
    UniqueFd timer_;  // the oldest client's deadline, or when to listen again
    std::vector<Listener> listeners_;
    std::vector<std::unique_ptr<Client>> clients_;  // oldest first
    std::optional<Deadline> deaf_;                  // there was no descriptor for a client
};

}  // namespace ringloop::control
