// A device passes from its server to the next one, of a newer ringloop perhaps, while it is in use.
//
//   next                              old
//   opens the image, prepares
//   Predecessor::ask  ------------->  parks its clients, freezes, syncs
//   Predecessor::ask  <-------------  bequeath: what it has, as descriptors and facts
//   takes it up
//   Predecessor::replace  --------->  bequeath returns; exits
//   begins, once the process has ended
//
// Until it hears of the replacement, the old server can go on as if nothing had happened, and it
// does so when the next one ends, is silent for too long, or says no. The locks on the name and the
// image belong to descriptions that both have then, so that at no moment nobody holds them.
#pragma once

#include <nlohmann/json_fwd.hpp>
#include <optional>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "control/control_socket.h"
#include "control/listening.h"
#include "control/runtime_dir.h"
#include "frontend/nbd/carried.h"
#include "frontend/nbd/service.h"

namespace ringloop::control {

inline constexpr u32 hand_over_format = 1;

// What the old server gives away; the descriptors stay its own.
struct Bequest {
    int name_lock = -1;
    int request_mark = -1;
    int image_lock = -1;  // -1: none is held
    struct Listener {
        int socket = -1;
        std::optional<Listening::File> file;
    };
    std::vector<Listener> listeners;
    std::vector<nbd::Service::Held> clients;
    nbd::ServiceCounts counts;
    u64 held_since_ns = 0;  // CLOCK_MONOTONIC: requests wait since then
};

// Returns when the next server has said that it takes the device: nothing may be done with it any
// more. An error: it does not, and nothing has changed. Bounded.
Status bequeath(const Question& question, const Bequest& bequest);

// The same on the other side.
struct Estate {
    UniqueFd name_lock;
    UniqueFd request_mark;
    UniqueFd image_lock;  // empty: none is held
    std::vector<Listening> listeners;
    struct Client {
        UniqueFd socket;
        nbd::CarriedClient client;
    };
    std::vector<Client> clients;
    nbd::ServiceCounts counts;
    u64 held_since_ns = 0;
};

class Predecessor {
public:
    // ECONNREFUSED or ENOENT where there is none. While paths still mean what they meant.
    static Result<Predecessor> find(const RuntimeDir& directory, const std::string& name);

    // nullopt: it is of a ringloop that ends without giving anything; nobody is connected to it, or
    // `force` was given. The error says what keeps it from being replaced.
    Result<std::optional<Estate>> ask(bool force);
    // Says that it is replaced, if it gave anything, and waits for its end.
    Status replace(bool said);

private:
    explicit Predecessor(Conversation conversation) : conversation_(std::move(conversation)) {}
    Result<Estate> receive(const nlohmann::json& facts) const;

    Conversation conversation_;
};

}  // namespace ringloop::control
