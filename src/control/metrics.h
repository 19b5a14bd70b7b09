// Counters as text that Prometheus reads: exposition format 0.0.4
// (https://prometheus.io/docs/instrumenting/exposition_formats/).
#pragma once

#include <span>
#include <string>
#include <string_view>

#include "control/counters.h"
#include "control/state.h"

namespace ringloop::control {

// Every sample has device="NAME"; where the image lies and the like is said once, by
// ringloop_device_info. Lanes are told apart by lane="CGROUP", two of one cgroup are one.
std::string metrics_text(const DeviceState& state, const Counters& counters);

// The texts of several devices as one: the format wants each family in one piece.
std::string merge_metrics(std::span<const std::string> texts);

// With \ " and newline escaped; bytes that are no UTF-8 are replaced.
std::string label_value(std::string_view text);

}  // namespace ringloop::control
