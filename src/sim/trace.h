// What happened in a run, in its order: a hash over all of it, so that two runs can be told to be
// the same, and the last part itself, so that a failure can be told as a story.
#pragma once

#include <string>
#include <vector>

#include "base/int.h"
#include "base/range.h"

namespace ringloop::sim {

enum class What : u8 {
    // A client's.
    sent,      // actor: port; number: job; detail: op; range
    answered,  // value: errno
    lost,
    // A kernel's. actor: kernel; number: operation; detail: code; value: flags or result
    started,
    ended,
    // The world's.
    life,  // number: of the server's lives
    killed,
    power_cut,  // value: sectors that the crash took back
    frozen,
    thawed,
    policy,
    resized,    // value: bytes
    truncated,  // value: bytes
    room,       // value: pages that can be allocated now, -1: any number
    on_error,   // value: engine::OnError from now on; detail: 1 where the device goes on with it
    faults_off,
    lane_opened,
    lane_killed,
    connection_cut,
    writeback,  // range: a page became stable on its own
    lost_page,  // range: a page will never become stable
    wrong,      // what the oracle says is wrong
};

// The detail of a job: its operation, and what else it asks for.
inline constexpr u8 trace_op = 0x0f;
inline constexpr u8 trace_fua = 0x10;
inline constexpr u8 trace_no_unmap = 0x20;

class Trace {
public:
    struct Entry {
        u64 at_ns = 0;
        What what = What::sent;
        u8 detail = 0;
        u16 actor = 0;
        u64 number = 0;
        ByteRange range{};
        i64 value = 0;
    };

    // `keep`: as many of the last entries.
    explicit Trace(u64 keep) : keep_(keep) {}

    void add(const Entry& entry);
    u64 hash() const { return hash_; }
    // Oldest first.
    std::vector<Entry> last() const;

private:
    std::vector<Entry> ring_;
    u64 keep_;
    u64 count_ = 0;
    u64 hash_ = 0xcbf29ce484222325;
};

// "    1.204310 ms  job 17 is sent: write of 4096 bytes at 65536, FUA"
std::string sentence(const Trace::Entry& entry);

}  // namespace ringloop::sim
