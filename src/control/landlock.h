// What a thread of a server may still open: a short list of paths, and nothing else.
#pragma once

#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace ringloop::control {

// The kernel's version of it, 1 or more. The error says why there is none.
Result<u32> landlock_version();

class Landlock {
public:
    enum class Allow : u8 {
        read,    // files and folders
        device,  // a device's node: read, write, ioctl
        write,   // a folder in which files are made, replaced and removed
        remove,  // a folder from which files are removed
    };

    // Nothing is allowed yet. `signals`: to other processes, too.
    static Result<Landlock> create(bool signals);

    // Of `fd` and everything below it.
    Status allow(int fd, Allow what) const;
    // The same by its path. What does not exist cannot be opened either.
    Status allow(const std::string& path, Allow what) const;

    // This thread from now on, and all that it starts. What is open stays open. Needs
    // PR_SET_NO_NEW_PRIVS. Any thread.
    Status enter() const;

private:
    Landlock(UniqueFd rules, u64 handled) : rules_(std::move(rules)), handled_(handled) {}

    UniqueFd rules_;
    u64 handled_;
};

}  // namespace ringloop::control
