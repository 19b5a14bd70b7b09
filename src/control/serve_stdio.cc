#include "control/serve_stdio.h"

#include <fcntl.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include <array>
#include <cstdio>

#include "base/log.h"
#include "base/say.h"
#include "control/dispatching.h"
#include "control/shard_threads.h"
#include "control/signals.h"
#include "control/transports.h"

namespace ringloop::control {
namespace {

// A descriptor of its own; standard input becomes /dev/null, so that nobody closes it by its name.
Result<UniqueFd> take_standard_input() {
    int type = 0;
    socklen_t size = sizeof type;
    sockaddr_storage peer{};
    socklen_t peer_size = sizeof peer;
    const bool stream =
        ::getsockopt(STDIN_FILENO, SOL_SOCKET, SO_TYPE, &type, &size) == 0 && type == SOCK_STREAM;
    if (!stream ||
        ::getpeername(STDIN_FILENO, reinterpret_cast<sockaddr*>(&peer), &peer_size) != 0) {
        return fail(ENOTSOCK,
                    "--stdio: standard input is no connected stream socket (a pipe goes one way "
                    "only); let the client start the server (nbd_connect_command of libnbd, "
                    "inetd), or listen with --nbd");
    }
    UniqueFd socket(::fcntl(STDIN_FILENO, F_DUPFD_CLOEXEC, STDERR_FILENO + 1));
    const UniqueFd nothing(::open("/dev/null", O_RDWR | O_CLOEXEC));
    if (!socket || !nothing || ::dup2(nothing.get(), STDIN_FILENO) < 0) {
        return fail_errno(errno, "--stdio");
    }
    return socket;
}

void wait_for_either(int signals, int attention) {
    std::array<pollfd, 2> fds = {{{signals, POLLIN, 0}, {attention, POLLIN, 0}}};
    while (::poll(fds.data(), fds.size(), -1) < 0 && errno == EINTR) {
    }
}

class Session {
public:
    explicit Session(const DeviceOptions& options) : options_(options) {}

    Status run(UniqueFd client) {
        auto signals = Signals::block();
        if (!signals) return std::unexpected(std::move(signals).error());
        auto attention = Attention::create();
        if (!attention) return std::unexpected(std::move(attention).error());
        auto backing = backing::Backing::open(backing_options(options_));
        if (!backing) return std::unexpected(std::move(backing).error());
        const auto settings = ServiceSettings::create(options_.exported, options_.depth);
        if (!settings) return std::unexpected(settings.error());
        engine::Device device(**backing);
        device.dispatch_by(dispatching_of(options_, 1));
        device.set_on_error(options_.on_error);
        nbd::Service& service = transports_.make_service(device, settings->options(), 1);

        Status status = sandbox_.prepare({.choice = options_.sandbox});
        if (status) status = threads_.start(transports_, device, -1, nullptr, &sandbox_);
        if (status) status = transports_.bring_up();
        if (status) {
            threads_.confine();
            sandbox_.confine_survey(service.survey());
            status = sandbox_.confine();
        }
        if (status) {
            service.adopt(std::move(client), nbd::Service::Begin::handshake, 0,
                          [&attention] { attention->raise(); });
            wait_for_either(signals->fd(), attention->fd());
        }
        end();
        if (status && !(*backing)->geometry().read_only) status = device.sync_at_end();
        return status;
    }

private:
    // Nothing that a request uses may be destroyed while one is with the image.
    void end() {
        const Status stopped = transports_.stop();
        if (stopped && threads_.stop()) return;
        say(fmt::format(
            "ringloop: {}: the image does not answer; see that its disk or server does\n",
            options_.image));
        std::_Exit(1);
    }

    const DeviceOptions& options_;
    Transports transports_;
    Sandbox sandbox_;
    ShardThreads threads_;
};

}  // namespace

int serve_stdio(DeviceOptions options) {
    options.transport = TransportChoice::socket;
    Status status;
    if (auto client = take_standard_input(); client) {
        status = Session(options).run(std::move(*client));
    } else {
        status = std::unexpected(std::move(client).error());
    }
    if (status) return 0;
    say(fmt::format("ringloop: {}\n", status.error().message));
    return 1;
}

}  // namespace ringloop::control
