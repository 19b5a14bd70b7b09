// The lanes of one shard that are not its own: each runs in the cgroup of an issuer, so that I/O is
// charged to who caused it and a throttled one holds up nobody else. cgroup/shard_lanes.h has them.
#pragma once

#include "base/int.h"

namespace ringloop::engine {

class Lane;

// What an executor completes an operation with that it did not carry out, because it is gone or
// never came to be: the root lane does it then. No kernel answers that to an operation of a
// backing. (EOWNERDEAD, of robust mutexes.)
inline constexpr i32 lane_lost = -130;

class Tenants {
public:
    virtual ~Tenants() = default;

    // The lane for requests of `cgroup` (0: not known); nullptr: the root lane serves them. Shard's
    // thread.
    virtual Lane* lane_of(u64 cgroup) = 0;

    // Before the loop waits: hands over what was submitted. False: something has completed already,
    // and the loop must not wait.
    virtual bool about_to_wait() = 0;

    // After that: calls `done` of everything that completed.
    virtual void collect() = 0;

    // The policy or the share of workers changed. Shard's thread.
    virtual void settle() = 0;
};

}  // namespace ringloop::engine
