#include "control/notify.h"

#include <sys/socket.h>
#include <sys/un.h>

#include <cstddef>
#include <cstdlib>
#include <cstring>

#include "base/unique_fd.h"

namespace ringloop::control {

namespace {

// Connected once, because a server in its sandbox can neither make nor connect another. Control
// thread.
UniqueFd manager;

}  // namespace

void find_manager() {
    const char* variable = std::getenv("NOTIFY_SOCKET");
    if (!variable) return;
    const std::string_view path = variable;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (path.empty() || path.size() >= sizeof address.sun_path) return;
    std::memcpy(address.sun_path, path.data(), path.size());
    // "@name" is a socket without a file, unix(7); its address is as long as its name.
    if (path[0] == '@') address.sun_path[0] = '\0';
    const std::size_t size = offsetof(sockaddr_un, sun_path) + path.size();
    UniqueFd fd(::socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0));
    if (!fd) return;
    if (::connect(fd.get(), reinterpret_cast<const sockaddr*>(&address),
                  static_cast<socklen_t>(size)) == 0) {
        manager = std::move(fd);
    }
}

void notify_manager(std::string_view text) {
    if (!manager) return;
    ::send(manager.get(), text.data(), text.size(), MSG_NOSIGNAL);
}

}  // namespace ringloop::control
