// Starting a server in the background and waiting until its device is usable.
#pragma once

#include <string>
#include <vector>

#include "base/int.h"
#include "base/result.h"

namespace ringloop::control {

// What becomes of the server when SIGINT, SIGTERM or SIGHUP arrive while its device is not ready.
enum class WhenInterrupted : u8 {
    stop,   // it is told to undo what it did, and its end is awaited: nothing is left
    leave,  // it may become ready or give up, as if nobody had asked: for a device with users
};

// Runs this program again with `arguments` ("serve", ...) in a session of its own, and waits for
// its ready line. Returns that line. An error of the server is returned as it was told; EINTR when
// a signal arrived meanwhile.
Result<std::string> spawn_server(const std::vector<std::string>& arguments,
                                 WhenInterrupted when_interrupted);

}  // namespace ringloop::control
