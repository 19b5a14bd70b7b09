// Where a lane's process begins.
#pragma once

#include <vector>

#include "cgroup/switchboard.h"

namespace ringloop::cgroup {

// What it finds in its copy of the server's memory. The descriptors are open in it too.
struct LaneContext {
    int image_fd = -1;  // what handles are opened by
    Switchboard* board = nullptr;
    std::vector<int> events;      // of the shards
    int held_fd = -1;             // kept open by the ring, if any
    void (*confine)() = nullptr;  // called when everything is open, if any
};

// Spawner::Entry; `context` is a LaneContext. Returns only when the lane cannot serve.
void lane_entry(void* context, u32 lane, int event, int life_fd);

}  // namespace ringloop::cgroup
