// The other side of Spawner: the process that clones lanes, and what the two say to each other.
#pragma once

#include <sys/types.h>

#include <array>
#include <span>
#include <vector>

#include "base/int.h"
#include "base/unique_fd.h"

namespace ringloop::cgroup {

// ---- messages: one packet each, with descriptors -----------------------------------------------

// With doorbell, life and gate, in this order, and one descriptor for each of the places; or with
// the one that takes the place of replaced_fd, and then nothing is cloned.
struct SpawnRequest {
    u64 serial = 0;
    u32 index = 0;
    bool joins_v2 = false;
    bool joins_blkio_v1 = false;
    bool joins_memory_v1 = false;
    i32 replaced_fd = -1;  // of the kept ones
};

enum class SpawnStep : u32 { clone, join_blkio, join_memory };

// With a pidfd when number is 0.
struct SpawnReply {
    u64 serial = 0;
    i32 pid = 0;
    i32 number = 0;  // errno of the step that failed; there is no process then
    SpawnStep step = SpawnStep::clone;
};

// What the server writes into the gate, an eventfd at which a new lane waits: it begins when the
// server knows of it, and ends when the server has given up waiting for it.
inline constexpr u64 gate_go = 1;
inline constexpr u64 gate_abandon = 2;

inline constexpr std::size_t message_fds_max = 6;

struct MessageFds {
    std::array<UniqueFd, message_fds_max> fds;
    std::size_t count = 0;
};

// Neither blocks with MSG_DONTWAIT in `flags`, neither raises SIGPIPE. Bytes, or -errno; 0 from
// receive_message is the end.
i32 send_message(int socket, std::span<const std::byte> body, std::span<const int> fds, int flags);
i32 receive_message(int socket, std::span<std::byte> body, MessageFds& fds, int flags);

// ---- the process -------------------------------------------------------------------------------

struct Nursery {
    void (*entry)(void* context, u32 index, int doorbell_fd, int life_fd) = nullptr;
    void* context = nullptr;
    pid_t server = 0;
    int socket = -1;
    int null_fd = -1;  // /dev/null
    std::vector<int> kept_fds;
};

// In a child that was just forked. Ends when the other end of its socket is closed.
[[noreturn]] void run_nursery(Nursery nursery);

}  // namespace ringloop::cgroup
