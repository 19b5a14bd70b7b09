// Starting a server in the background and waiting until its device is usable.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace ringloop::control {

// Runs this program again with `arguments` ("serve", ...) in a session of its own, and waits for
// its ready line. Returns that line. An error of the server is returned as it was told. When
// SIGINT, SIGTERM or SIGHUP arrive meanwhile, the server is told to stop and its end is awaited:
// Error{EINTR}, and nothing is left.
Result<std::string> spawn_server(const std::vector<std::string>& arguments);

}  // namespace ringloop::control
