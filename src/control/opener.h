// What a server in its sandbox cannot do any more and needs all the same, in a small process that
// was forked before: it opens an image again of which it is given a descriptor, looks who uses the
// device, and brings down to it what they still hold.
//
// It does these four things and nothing else, for one device, and opens nothing by a path that the
// server names. So whoever has taken over the server gets no file of it that he does not have.
#pragma once

#include <sys/types.h>

#include <memory>
#include <mutex>
#include <span>
#include <string>
#include <vector>

#include "backing/image.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "control/holders.h"
#include "control/wait.h"

namespace ringloop::control {

class Opener final : public backing::Opener {
public:
    // Forks, so before there are threads. `device` is "/dev/ublkb0", or whatever serves sockets,
    // which nobody holds. From then on, and as long as this object lives, it is the server's: what
    // backing::reopen and the functions below come to. The child ends with this object, or
    // with the server, whatever ends that.
    static Result<std::unique_ptr<Opener>> start(const std::string& device);
    Opener(const Opener&) = delete;
    Opener& operator=(const Opener&) = delete;
    ~Opener();

    // What is wrong with it, if anything. Any thread.
    Status health() const;

    // Any thread; one at a time. As backing::reopen.
    UniqueFd open_again(int fd, int flags) override;

    // As the functions of these names, of the device. EPIPE: the opener has died.
    Result<std::vector<std::string>> holders(Holding holding);
    bool flush_disk(u64 timeout_ms);
    Status set_read_only(bool read_only);

private:
    struct Answer;
    Opener(pid_t pid, UniqueFd process, UniqueFd socket)
        : pid_(pid), process_(std::move(process)), socket_(std::move(socket)) {}
    Result<Answer> ask(u32 what, u64 value, int fd = -1);

    pid_t pid_;
    UniqueFd process_;
    UniqueFd socket_;
    std::mutex mutex_;
};

// An error where this server has one that has died: no image is opened again.
Status opener_health();

// By the opener of this server where it has one, otherwise here. Where it has died, somebody who
// cannot be seen is said to hold the device: whoever asks then takes the careful way.
std::vector<std::string> holders_seen(const std::string& device, Holding holding = Holding::any);
bool flush_disk_seen(const std::string& device, u64 timeout_ms);
Status set_read_only_seen(const std::string& device, bool read_only);

}  // namespace ringloop::control
