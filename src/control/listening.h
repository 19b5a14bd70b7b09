// Listening stream sockets: made from addresses, or inherited from a service manager.
#pragma once

#include <sys/types.h>

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "control/address.h"

namespace ringloop::control {

// A socket that listens. One of a unix path that we made owns the file, mode 0600, and removes it
// when it is told to or destroyed, unless somebody has replaced it meanwhile.
class Listening {
public:
    // Which file a socket of a unix path is, in which folder.
    struct File {
        int directory = -1;  // the Listening's
        std::string name{};
        u64 device = 0;
        u64 inode = 0;
    };

    explicit Listening(UniqueFd socket) : socket_(std::move(socket)) {}
    // Of another server. Its file, in `directory`, is not removed before it was kept.
    Listening(UniqueFd socket, UniqueFd directory, const File& file)
        : socket_(std::move(socket)),
          directory_(std::move(directory)),
          name_(file.name),
          device_(file.device),
          inode_(file.inode),
          kept_(false) {}
    Listening(Listening&&) = default;
    Listening& operator=(Listening&&) = delete;
    ~Listening() { remove_file(); }

    UniqueFd take_socket() { return std::move(socket_); }
    void keep_file() { kept_ = true; }
    void remove_file();
    // nullopt: there is none that we made.
    std::optional<File> file() const {
        if (!directory_) return std::nullopt;
        return File{directory_.get(), name_, device_, inode_};
    }
    // -1: of no file.
    int folder() const { return directory_.get(); }

private:
    friend Result<Listening> listen_on_unix(const std::string& path, u64 patience_ms);

    UniqueFd socket_;
    UniqueFd directory_;  // of the file: its path may mean nothing to us later
    std::string name_;
    dev_t device_ = 0;
    ino_t inode_ = 0;
    bool kept_ = true;
};

// Non-blocking and close-on-exec, all of them. After its death a server's sockets still listen for
// a moment, because its ring holds them: patience_ms is how long to wait for that.
//
// A socket file that a dead server left at `path` is replaced. EADDRINUSE: somebody listens there;
// EEXIST: it is no socket, and never removed.
Result<Listening> listen_on_unix(const std::string& path, u64 patience_ms);

// What a dead server left there, if anything; only a socket, and only when nobody listens.
void remove_dead_socket(const std::string& path);

// tcp with an empty host: 127.0.0.1 and, where the host has it, ::1. A name: all that it means;
// EPERM when one of them is not local and `local_only`.
struct ListenOptions {
    bool local_only = true;
    u64 patience_ms = 0;
};
Result<std::vector<Listening>> listen_on(const Address& address, const ListenOptions& options);

struct Inherited {
    UniqueFd socket;
    Address address;  // what it is bound to
};
// The protocol of sd_listen_fds(3): LISTEN_PID, LISTEN_FDS; both are removed from the environment.
// None where they are not meant for this process. An error names a descriptor that is no listening
// stream socket.
Result<std::vector<Inherited>> inherited_sockets();

// The CID by which others reach this host; 1, the host itself, where it has no other.
u32 vsock_cid();

}  // namespace ringloop::control
