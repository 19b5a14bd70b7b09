// The life of one device: from an image to a device that is gone again without a trace.
#pragma once

#include <optional>
#include <string>

#include "control/options.h"

namespace ringloop::control {

// Of a server in the background whose memory did not last until it could say so.
inline constexpr int exit_without_memory = 12;

struct ServeRequest {
    DeviceOptions options;        // unused when recovering
    std::string recover_name;     // take over the device of this server; empty: a new one
    bool take_over = false;       // of its living server, which goes on until this one can
    bool force = false;           // then: though some clients are cut off
    std::optional<int> ready_fd;  // in the background: the pipe to `attach`, see ready.h
    bool stdio = false;           // one NBD client, on standard input; see serve_stdio.h

    bool operator==(const ServeRequest&) const = default;
};

// Serves until the device was detached or a signal came. Returns the exit code: 0 when everything
// written is on stable storage and the device is gone, 1 after an error or an interruption before
// the device was ready (told on the ready pipe in the background, on stderr otherwise).
int serve(const ServeRequest& request);

}  // namespace ringloop::control
