// Which cgroup issued a request of a disk: ublk does not say so, therefore a BPF program of ours
// (issuers.bpf.c) notes it for each slot of the disk when the kernel hands a request to the driver.
//
// The id is that of the first bio of the request, whom the kernel's own loop driver charges too, in
// the hierarchy that has the io controller (blkio in version 1). It equals the inode number of the
// cgroup's directory (include/linux/cgroup.h cgroup_id, fs/kernfs/dir.c).
#pragma once

#include <memory>
#include <string>

#include "base/assert.h"
#include "base/result.h"
#include "base/unique_fd.h"

namespace ringloop::cgroup {

class Issuers {
public:
    // Has the kernel run the program, for a disk that is named later. `queues` and `depth`: the
    // most that the disk will have, at least 1, together at most 2^24 slots of 8 bytes.
    //
    // While the process has one thread and finds its libraries and /sys. The work is done by a
    // child, whose memory goes with it; blocks some 30 ms, and never longer than 10 s. An error
    // names what is missing and the way to get it.
    static Result<Issuers> attach(u32 queues, u32 depth);

    // From now on the issuers of requests of `disk` are noted: "ublkb0", a name of /sys/block of 1
    // to 15 bytes. It need not exist yet: watched before it is started, each of its requests is
    // known. Once. Control thread.
    Status watch(const std::string& disk);

    // On slots that the caller keeps, queues * depth of them, and without a disk: for a kernel that
    // is simulated.
    static Issuers on(const u64* slots, u32 queues, u32 depth);

    // The issuer of the request that is in this slot; 0: not known, as of a flush, which has no
    // bio. Of a request that a driver handed out, until it is committed; before and afterwards it
    // is that of another request. (So it is where the kernel skipped the program, which it does in
    // an interrupt of the program itself.) Any thread.
    u64 of(u32 queue, u32 tag) const {
        ASSERT(queue < queues_ && tag < depth_);
        return __atomic_load_n(&slots_[queue * depth_ + tag], __ATOMIC_RELAXED);
    }

    // Whether the slots of such a disk are among these.
    bool hold(u32 queues, u32 depth) const { return queues <= queues_ && depth <= depth_; }

private:
    struct Unmap {
        u64 length;  // bytes
        void operator()(void* address) const;
    };
    using Mapping = std::unique_ptr<void, Unmap>;

    Issuers(const u64* slots, u32 queues, u32 depth);
    static Result<Mapping> map(int fd, u64 length, int protection);

    UniqueFd link_;    // the program runs while it is open
    UniqueFd disk_;    // what it knows of the disk; until watch
    Mapping mapping_;  // where the slots lie, unless the caller keeps them
    const u64* slots_;
    u32 queues_;
    u32 depth_;
};

// Whether attach would succeed on this host for this user: tries it. While the process has one
// thread; blocks as attach does.
Status issuers_available();

}  // namespace ringloop::cgroup
