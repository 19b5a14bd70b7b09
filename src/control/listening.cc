#include "control/listening.h"

#include <fcntl.h>
#include <linux/vm_sockets.h>
#include <netdb.h>
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include <charconv>
#include <cstdlib>
#include <cstring>
#include <memory>
#include <span>

#include "control/wait.h"

namespace ringloop::control {
namespace {

constexpr int backlog = 1024;          // the kernel clamps it to net.core.somaxconn
constexpr int inherited_fd_first = 3;  // SD_LISTEN_FDS_START
constexpr int inherited_fds_max = 1024;
constexpr u64 dead_server_patience_ms = 5'000;
constexpr int socket_flags = SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK;

// A path through a descriptor of its directory is short enough for sun_path, whatever its length.
Result<sockaddr_un> unix_address(const UniqueFd& directory, const std::string& name,
                                 const std::string& path) {
    const std::string short_path = fmt::format("/proc/self/fd/{}/{}", directory.get(), name);
    const std::string& chosen = path.size() < sizeof sockaddr_un::sun_path ? path : short_path;
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    if (chosen.size() >= sizeof address.sun_path) {
        return fail(ENAMETOOLONG, "{}: too long for a socket; use a shorter path", path);
    }
    std::memcpy(address.sun_path, chosen.data(), chosen.size());
    return address;
}

// Whether somebody would take a connection; one who is busy would, later.
bool is_listened_to(const sockaddr_un& address) {
    const UniqueFd probe(::socket(AF_UNIX, socket_flags, 0));
    if (!probe) return true;
    const auto* generic = reinterpret_cast<const sockaddr*>(&address);
    return ::connect(probe.get(), generic, sizeof address) == 0 || errno != ECONNREFUSED;
}

// What a dead server left; only a socket, and only when nobody listens.
Status remove_stale(const UniqueFd& directory, const std::string& name, const sockaddr_un& address,
                    const std::string& path, u64 patience_ms) {
    struct stat file{};
    if (::fstatat(directory.get(), name.c_str(), &file, AT_SYMLINK_NOFOLLOW) != 0) {
        if (errno == ENOENT) return {};
        return fail_errno(errno, "{}", path);
    }
    if (!S_ISSOCK(file.st_mode)) {
        return fail(EEXIST, "{}: exists and is no socket; choose another path", path);
    }
    if (!wait_until(Deadline(patience_ms), [&] { return !is_listened_to(address); })) {
        return fail(EADDRINUSE, "{}: somebody listens there already; choose another path", path);
    }
    if (::unlinkat(directory.get(), name.c_str(), 0) == 0 || errno == ENOENT) return {};
    return fail_errno(errno, "{}: cannot replace the socket of a dead server", path);
}

Status listen_at(const UniqueFd& socket, const sockaddr* address, socklen_t size,
                 const std::string& text, u64 patience_ms) {
    int number = 0;
    wait_until(Deadline(patience_ms), [&] {
        const bool listens =
            ::bind(socket.get(), address, size) == 0 && ::listen(socket.get(), backlog) == 0;
        number = listens ? 0 : errno;
        return number != EADDRINUSE;
    });
    if (number != 0) {
        if (number == EADDRINUSE) {
            return fail(number, "{}: somebody listens there already; choose another port", text);
        }
        return fail_errno(number, "{}: cannot listen (is it an address of this host?)", text);
    }
    return {};
}

Result<UniqueFd> listen_on_inet(const addrinfo& found, const std::string& text, u64 patience_ms) {
    UniqueFd socket(::socket(found.ai_family, socket_flags, IPPROTO_TCP));
    if (!socket) return fail_errno(errno, "{}", text);
    const int on = 1;
    // Connections of a server that just ended may still be on their way out.
    ::setsockopt(socket.get(), SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
    // Both families have sockets of their own, whatever the host's default.
    if (found.ai_family == AF_INET6) {
        ::setsockopt(socket.get(), IPPROTO_IPV6, IPV6_V6ONLY, &on, sizeof on);
    }
    TRY(listen_at(socket, found.ai_addr, found.ai_addrlen, text, patience_ms));
    return socket;
}

bool is_loopback(const sockaddr* address) {
    if (address->sa_family == AF_INET) {
        const auto* v4 = reinterpret_cast<const sockaddr_in*>(address);
        return (ntohl(v4->sin_addr.s_addr) >> 24) == IN_LOOPBACKNET;
    }
    const auto* v6 = reinterpret_cast<const sockaddr_in6*>(address);
    return IN6_IS_ADDR_LOOPBACK(&v6->sin6_addr);
}

bool family_is_missing(int number) {
    return number == EAFNOSUPPORT || number == EADDRNOTAVAIL || number == EPROTONOSUPPORT;
}

Result<std::vector<Listening>> listen_on_tcp(const Address& address, const ListenOptions& options) {
    const std::string text = to_text(address);
    const std::string port = fmt::format("{}", address.port);
    addrinfo hints{};
    hints.ai_socktype = SOCK_STREAM;
    hints.ai_flags = AI_NUMERICSERV;  // without a host: loopback
    addrinfo* list = nullptr;
    const int code = ::getaddrinfo(address.host.empty() ? nullptr : address.host.c_str(),
                                   port.c_str(), &hints, &list);
    if (code != 0)
        return fail(EINVAL, "{}: {}; see that the name is right", text, ::gai_strerror(code));
    const std::unique_ptr<addrinfo, void (*)(addrinfo*)> owner(list, ::freeaddrinfo);

    std::vector<Listening> sockets;
    Status refused = fail(EADDRNOTAVAIL, "{}: means no address of this host; see ip address", text);
    for (const addrinfo* found = list; found; found = found->ai_next) {
        if (options.local_only && !is_loopback(found->ai_addr)) {
            return fail(EPERM,
                        "{}: other hosts could read and write the image: require TLS "
                        "(--tls require), listen on loopback, or insist with --insecure",
                        text);
        }
        auto socket = listen_on_inet(*found, text, options.patience_ms);
        if (socket) {
            sockets.emplace_back(std::move(*socket));
        } else if (family_is_missing(socket.error().number)) {
            refused = std::unexpected(std::move(socket).error());  // of the other family then
        } else {
            return std::unexpected(std::move(socket).error());
        }
    }
    if (sockets.empty()) return std::unexpected(std::move(refused).error());
    return sockets;
}

Result<std::vector<Listening>> listen_on_vsock(const Address& address,
                                               const ListenOptions& options) {
    UniqueFd socket(::socket(AF_VSOCK, socket_flags, 0));
    if (!socket) {
        return fail(errno, "{}: {}; load its driver with: modprobe vsock", to_text(address),
                    errno_text(errno));
    }
    sockaddr_vm vm{};
    vm.svm_family = AF_VSOCK;
    vm.svm_cid = VMADDR_CID_ANY;
    vm.svm_port = address.port;
    TRY(listen_at(socket, reinterpret_cast<const sockaddr*>(&vm), sizeof vm, to_text(address),
                  options.patience_ms));
    std::vector<Listening> sockets;
    sockets.emplace_back(std::move(socket));
    return sockets;
}

std::optional<int> number_in(const char* variable) {
    const char* text = std::getenv(variable);
    if (!text) return std::nullopt;
    int number = 0;
    const std::string_view view = text;
    const auto [end, error] = std::from_chars(view.data(), view.data() + view.size(), number);
    if (error != std::errc{} || end != view.data() + view.size()) return std::nullopt;
    return number;
}

int option_of(int fd, int option) {
    int value = 0;
    socklen_t size = sizeof value;
    return ::getsockopt(fd, SOL_SOCKET, option, &value, &size) == 0 ? value : -1;
}

std::string host_of(const sockaddr_storage& address, socklen_t size) {
    char host[NI_MAXHOST] = "";
    ::getnameinfo(reinterpret_cast<const sockaddr*>(&address), size, host, sizeof host, nullptr, 0,
                  NI_NUMERICHOST);
    return host;
}

std::optional<Address> address_of(int fd) {
    sockaddr_storage storage{};
    socklen_t size = sizeof storage;
    if (::getsockname(fd, reinterpret_cast<sockaddr*>(&storage), &size) != 0) return std::nullopt;
    switch (storage.ss_family) {
        case AF_UNIX: {
            const auto& address = reinterpret_cast<const sockaddr_un&>(storage);
            if (address.sun_path[0] == '\0') return std::nullopt;  // no name, or an abstract one
            return Address{.kind = Address::Kind::unix, .path = address.sun_path};
        }
        case AF_INET:
        case AF_INET6: {
            const auto& address = reinterpret_cast<const sockaddr_in&>(storage);  // port: as in v6
            return Address{.kind = Address::Kind::tcp,
                           .host = host_of(storage, size),
                           .port = ntohs(address.sin_port)};
        }
        case AF_VSOCK: {
            const auto& address = reinterpret_cast<const sockaddr_vm&>(storage);
            return Address{.kind = Address::Kind::vsock, .port = address.svm_port};
        }
        default: return std::nullopt;
    }
}

Result<Inherited> inherit(int fd) {
    if (option_of(fd, SO_TYPE) != SOCK_STREAM || option_of(fd, SO_ACCEPTCONN) != 1) {
        return fail(EINVAL,
                    "LISTEN_FDS: descriptor {} is no listening stream socket; see "
                    "ListenStream= and Accept=no of its socket unit",
                    fd);
    }
    auto address = address_of(fd);
    if (!address) {
        return fail(EAFNOSUPPORT,
                    "LISTEN_FDS: descriptor {} has no address by which a client could be told of "
                    "it; use a path, TCP or vsock",
                    fd);
    }
    ::fcntl(fd, F_SETFD, FD_CLOEXEC);
    ::fcntl(fd, F_SETFL, ::fcntl(fd, F_GETFL) | O_NONBLOCK);
    return Inherited{UniqueFd(fd), std::move(*address)};
}

}  // namespace

void Listening::remove_file() {
    if (!directory_ || !kept_) return;
    struct stat file{};
    if (::fstatat(directory_.get(), name_.c_str(), &file, AT_SYMLINK_NOFOLLOW) == 0 &&
        file.st_dev == device_ && file.st_ino == inode_) {
        ::unlinkat(directory_.get(), name_.c_str(), 0);
    }
    directory_.reset();
}

Result<Listening> listen_on_unix(const std::string& path, u64 patience_ms) {
    const std::size_t slash = path.rfind('/');
    const std::string folder = slash == std::string::npos ? "." : path.substr(0, slash + 1);
    const std::string name = slash == std::string::npos ? path : path.substr(slash + 1);
    if (name.empty())
        return fail(EISDIR, "{}: the name of the socket is missing; write unix:PATH", path);
    UniqueFd directory(::open(folder.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    if (!directory) {
        return fail_errno(errno, "{}: cannot create the socket (is its folder there?)", path);
    }
    const auto address = unix_address(directory, name, path);
    if (!address) return std::unexpected(address.error());
    TRY(remove_stale(directory, name, *address, path, patience_ms));

    Listening listening{UniqueFd(::socket(AF_UNIX, socket_flags, 0))};
    if (!listening.socket_) return fail_errno(errno, "no socket to listen on");
    // The mode of the file, from the start: a chmod afterwards would leave a gap.
    const mode_t mask = ::umask(0177);
    const auto* generic = reinterpret_cast<const sockaddr*>(&*address);
    const int bound = ::bind(listening.socket_.get(), generic, sizeof *address);
    const int number = errno;
    ::umask(mask);
    if (bound != 0)
        return fail_errno(number, "{}: cannot create the socket (is its folder there?)", path);
    struct stat file{};
    if (::fstatat(directory.get(), name.c_str(), &file, AT_SYMLINK_NOFOLLOW) == 0) {
        listening.directory_ = std::move(directory);
        listening.name_ = name;
        listening.device_ = file.st_dev;
        listening.inode_ = file.st_ino;
    }
    if (::listen(listening.socket_.get(), backlog) != 0) return fail_errno(errno, "{}", path);
    return listening;
}

void remove_dead_socket(const std::string& path) {
    const std::size_t slash = path.rfind('/');
    if (slash == std::string::npos) return;
    const UniqueFd directory(
        ::open(path.substr(0, slash + 1).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    const std::string name = path.substr(slash + 1);
    if (!directory) return;
    const auto address = unix_address(directory, name, path);
    // Whatever else stands there now is not ours to remove.
    if (address) {
        static_cast<void>(remove_stale(directory, name, *address, path, dead_server_patience_ms));
    }
}

Result<std::vector<Listening>> listen_on(const Address& address, const ListenOptions& options) {
    switch (address.kind) {
        case Address::Kind::tcp: return listen_on_tcp(address, options);
        case Address::Kind::vsock: return listen_on_vsock(address, options);
        case Address::Kind::unix: break;
    }
    auto socket = listen_on_unix(address.path, options.patience_ms);
    if (!socket) return std::unexpected(std::move(socket).error());
    std::vector<Listening> sockets;
    sockets.push_back(std::move(*socket));
    return sockets;
}

Result<std::vector<Inherited>> inherited_sockets() {
    const auto pid = number_in("LISTEN_PID");
    const auto count = number_in("LISTEN_FDS");
    for (const char* variable : {"LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"}) {
        ::unsetenv(variable);
    }
    std::vector<Inherited> sockets;
    if (pid != ::getpid() || !count) return sockets;
    if (*count < 0 || *count > inherited_fds_max) {
        return fail(EINVAL, "LISTEN_FDS: {} is no number of descriptors; start it by a socket unit",
                    *count);
    }
    for (int fd = inherited_fd_first; fd < inherited_fd_first + *count; ++fd) {
        auto socket = inherit(fd);
        if (!socket) return std::unexpected(std::move(socket).error());
        sockets.push_back(std::move(*socket));
    }
    return sockets;
}

u32 vsock_cid() {
    u32 cid = VMADDR_CID_LOCAL;
    const UniqueFd fd(::open("/dev/vsock", O_RDONLY | O_CLOEXEC));
    if (fd && ::ioctl(fd.get(), IOCTL_VM_SOCKETS_GET_LOCAL_CID, &cid) != 0) cid = VMADDR_CID_LOCAL;
    return cid == VMADDR_CID_ANY ? u32{VMADDR_CID_LOCAL} : cid;
}

}  // namespace ringloop::control
