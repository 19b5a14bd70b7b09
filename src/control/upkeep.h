// What a server looks after while it serves, where it was asked to: whether the last user of the
// device has gone (--autoclear), and whether the image has another size (--watch-size). Control
// thread. Where neither is asked for, an idle server never wakes.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "control/state.h"

namespace ringloop::control {

class Upkeep {
public:
    struct Wanted {
        bool autoclear = false;
        bool watch_size = false;
    };
    // Of a device that is usable, and that nobody of this process has open. Looks after nothing
    // yet.
    static Result<std::unique_ptr<Upkeep>> create(const DeviceState& state);

    // Readable when something may have changed.
    int fd() const { return events_.get(); }
    // To be called before it is looked; says whether there was anything.
    bool clear();

    struct Clients {  // of NBD sockets
        u64 now = 0;
        u64 ever = 0;
    };
    // From now on. Who has gone by now was not the last user: autoclear waits for whoever uses the
    // device at this moment, or else for the next. An error changes nothing.
    Status watch(Wanted wanted, Clients clients);
    const Wanted& wanted() const { return wanted_; }

    // Whether everybody who used the device has gone, clients of NBD sockets among them. A use of a
    // block device that nobody saw does not count: what opens and closes it within a moment, or
    // udev. It takes a second or two until it counts as left. From then on the device is claimed,
    // so that nobody can begin to use it, until claim() is let go.
    bool last_user_left(Clients clients);
    UniqueFd claim() { return std::move(claim_); }

private:
    Upkeep(std::string device, bool block_device)
        : device_(std::move(device)), block_device_(block_device) {}

    Status open();
    Status watch_opens(bool wanted);
    bool is_open() const;
    void tick(bool wanted);

    std::string device_;
    bool block_device_;
    Wanted wanted_;
    bool always_ticks_ = false;  // nothing else tells of what is watched
    bool used_ = false;
    u64 clients_before_ = 0;  // who had gone when autoclear began
    u32 quiet_ticks_ = 0;     // since somebody was seen
    UniqueFd opens_;          // inotify: who opens and closes the node
    int opens_watch_ = -1;
    UniqueFd timer_;
    UniqueFd events_;  // epoll of both
    UniqueFd claim_;
};

// Without what only looked, because a device had changed: "pid 9 ((udev-worker)) has it open".
std::vector<std::string> users_among(std::vector<std::string> holders);

}  // namespace ringloop::control
