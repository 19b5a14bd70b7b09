// The socket on which a server answers questions: AF_UNIX, SOCK_SEQPACKET, mode 0600, one question
// and one answer to a connection, each one packet of JSON of bounded length. A client
// that asks nothing in time, or too much, is dropped. Polled by the main thread; not the data path.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "control/wait.h"

namespace ringloop::control {

inline constexpr u32 message_bytes_max = 64 * 1024;  // of a question
inline constexpr u32 answer_bytes_max = 160 * 1024;  // below what a socket's buffer holds
inline constexpr u32 clients_max = 16;
inline constexpr u64 question_timeout_ms = 5'000;

struct Question {
    UniqueFd client;
    std::string text;
    UniqueFd file;  // a descriptor that came with it, if any
};

class ControlSocket {
public:
    // A socket file that a dead server left at `path` is replaced: the caller holds the name's
    // lock.
    static Result<ControlSocket> listen(const std::string& path);

    // Waits for the next question. nullopt: `other_fd` became readable instead. Where both always
    // have something, they take turns.
    Result<std::optional<Question>> next(int other_fd);

private:
    struct Client {
        UniqueFd fd;
        Deadline deadline;
    };
    explicit ControlSocket(UniqueFd fd) : fd_(std::move(fd)) {}

    void accept_clients();
    std::optional<Question> read_question(int fd);
    int poll_timeout_ms() const;

    UniqueFd fd_;
    std::vector<Client> clients_;  // oldest first
    bool others_turn_ = true;
};

// Does not wait: an answer that the client does not take is the client's loss.
void answer(const Question& question, std::string_view text);

// The other end.
class Conversation {
public:
    // ECONNREFUSED or ENOENT when nobody listens.
    static Result<Conversation> connect(const std::string& path);

    // `fd`, if any, goes with it: of a file that the server cannot find by its path, because it
    // has let go of other people's mounts.
    Status ask(std::string_view text, int fd = -1);
    // nullopt when the server closed the connection without an answer.
    Result<std::optional<std::string>> answer(const Deadline& deadline) const;
    int socket() const { return fd_.get(); }
    // Whether answer() would return at once.
    bool answered() const;
    // Waits for the end of the server's process. False when it did not come in time.
    bool wait_for_exit(const Deadline& deadline) const;

private:
    Conversation(UniqueFd fd, UniqueFd process)
        : fd_(std::move(fd)), process_(std::move(process)) {}

    UniqueFd fd_;
    UniqueFd process_;  // pidfd of the server
};

}  // namespace ringloop::control
