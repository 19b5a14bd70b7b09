// One NBD client on standard input, as inetd and the users of nbdkit know it: the connection is
// there already, and the server ends with it. No state, no name, no verbs.
#pragma once

#include "control/options.h"

namespace ringloop::control {

// Returns the exit code: 0 when the client has gone and everything written is on stable storage.
// Logs on standard error. Standard input has to be a connected stream socket.
int serve_stdio(DeviceOptions options);

}  // namespace ringloop::control
