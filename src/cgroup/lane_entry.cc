#include "cgroup/lane_entry.h"

#include "backing/backing.h"
#include "backing/image.h"
#include "cgroup/lane_process.h"
#include "io/uring.h"

namespace ringloop::cgroup {

// There is nobody to tell why it failed: its end is what the server hears of, and then the root
// lane serves.
void lane_entry(void* context, u32 lane, int event, int life_fd) {
    const auto& given = *static_cast<LaneContext*>(context);
    backing::reopen_by(nullptr);  // the server's, who is not here
    auto ring = io::Uring::create({.restricted = given.confine != nullptr});
    if (!ring) return;
    // What tells the server that the last request of this ring has ended; and whoever comes after
    // the server.
    if (!(*ring)->register_file(life_fd)) return;
    if (given.held_fd >= 0 && !(*ring)->register_file(given.held_fd)) return;
    const auto handle = backing::Backing::open_handle_of(given.image_fd, **ring);
    if (!handle) return;
    if (given.confine) given.confine();
    LaneProcess(**ring, *handle, *given.board, lane, given.events, event).run();
}

}  // namespace ringloop::cgroup
