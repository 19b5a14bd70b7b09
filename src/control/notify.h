// The readiness protocol of service managers, sd_notify(3): one datagram to $NOTIFY_SOCKET. Spoken
// here because libsystemd brings five compression and crypto libraries into every server's memory.
#pragma once

#include <string_view>

namespace ringloop::control {

// Connects to it, if there is one. Before the sandbox is closed, which is before the first of:
void find_manager();

// "READY=1\nSTATUS=..."; does nothing without a service manager. An error is of no use to anybody.
void notify_manager(std::string_view text);

}  // namespace ringloop::control
