// The device that all shards and all frontends of one image share: its geometry, what it admits,
// and whether its promise of durability still stands.
#pragma once

#include <algorithm>
#include <array>
#include <atomic>

#include "backing/backing.h"
#include "engine/buffers.h"
#include "engine/on_error.h"
#include "engine/policy.h"
#include "engine/request.h"

namespace ringloop::engine {

class Device {
public:
    explicit Device(const backing::Backing& backing) : backing_(backing) {}

    const backing::Backing& backing() const { return backing_; }
    const backing::Geometry& geometry() const { return backing_.geometry(); }
    u64 size_now() const { return backing_.size_now(); }

    // Whether a request may start; any thread. Bounds, alignment and read-only are what a peer can
    // get wrong, so they are errors; what only our own frontends could get wrong is asserted.
    //   read, discard past the end or unaligned: invalid; write past the end: no_space;
    //   anything that changes a read-only device: read_only; a flush of a poisoned one: io;
    //   a write behind the known end of an image that was cut short: io;
    //   anything that changes a device that has stopped, and its flushes: io.
    Errno admit(const Request& request) const;

    // A sync failed: the kernel may have dropped dirty pages and will not report them again, so no
    // later flush or FUA may succeed. Any thread; the first call logs, and calls on_poisoned.
    void poison(Errno cause);
    // The same of a server before this one, whose users are still there. Before any shard exists.
    void inherit_poison();
    // The last sync, after which nobody will ask again (control thread, at detach; it waits). Fails
    // for a poisoned device even where the kernel has forgotten why by now.
    Status sync_at_end() const;
    bool poisoned() const { return poisoned_.load(std::memory_order_acquire); }
    // When it was poisoned, or troubles() has its first. On the thread of whoever noticed; must not
    // block. Set before any shard exists.
    void (*on_trouble)(void*) = nullptr;
    void* on_trouble_context = nullptr;

    // What went wrong with this image since it came under the device. Any thread.
    struct Troubles {
        u64 failures = 0;  // requests that it did not carry out, and of the first of them:
        Op op = Op::read;
        Errno error = Errno::ok;
        u64 since_s = 0;    // since 1970
        u64 end = ~u64{0};  // of the image within the device, where it is known to be cut short
    };
    Troubles troubles() const;
    // Any thread; the first call logs, and calls on_trouble. With OnError::stop the first failure
    // of anything but a read stops the device.
    void note_failure(Op op, Errno error);
    // The image ends there, before the device does. Writes behind it are refused from then on: they
    // would make the file longer than whoever cut it short wants it, and read back by nobody but
    // us.
    void note_end(u64 end);
    // It does not, or not any more. Control thread.
    void forget_end() { refused_from_.fetch_or(no_end, std::memory_order_relaxed); }

    // What becomes of the device when its image fails. Any thread; what has happened by then stays.
    OnError on_error() const { return on_error_.load(std::memory_order_relaxed); }
    void set_on_error(OnError on_error) { on_error_.store(on_error, std::memory_order_relaxed); }

    // Since when, and for want of what.
    struct Incident {
        u64 requests = 0;  // that are concerned now; 0: it is not so
        Op op = Op::read;
        Errno error = Errno::ok;
        u64 since_s = 0;  // since 1970
    };
    // OnError::stop has met an error: until go_on nothing changes the image. Any thread.
    bool stopped() const {
        return (refused_from_.load(std::memory_order_relaxed) & stopped_bit) != 0;
    }
    Incident stop_cause() const;
    // The same of a server before this one. Before any shard exists.
    void inherit_stop();
    // Takes changes again, and forgets what went wrong, but for a failed sync. Control thread.
    void go_on();

    // Whether `request`, which the image has not carried out, shall be held until there is room
    // (held.h). A flush never is: what a failed sync could not write may have been dropped, and a
    // second one would succeed without it. Shard's thread.
    bool waits_for_room(const Request& request) const;
    // One more of them, or one less, on all shards together. Any thread; the first and the last
    // log, and call on_trouble.
    void note_held(Op op, Errno error);
    void note_released();
    Incident paused() const;

    // How the shards dispatch. Control thread, before any shard exists or while all are frozen
    // (freeze.h); each takes it over when it starts or thaws.
    void dispatch_by(const Dispatching& dispatching) { dispatching_ = dispatching; }
    const Dispatching& dispatching() const { return dispatching_; }

    // While all shards are frozen: what was learned of the image is of another one.
    void image_changed();

    // Where frontends get the memory for their requests' data from.
    Buffers& buffers() { return buffers_; }

    // Lanes that share the workers: the root one, and those of cgroups. Any thread writes it, each
    // shard settles when it sees another number.
    std::atomic<u32>& lanes() { return lanes_; }
    // Workers of one lane on one shard. No fewer than one, so that no lane waits for another's: a
    // device has no fewer workers than queues times lanes.
    u32 workers_of_lane() const {
        return std::max(1U,
                        dispatching_.workers_of_shard() / lanes_.load(std::memory_order_relaxed));
    }

    // Direct writes of the root lanes of all shards that may block and are not done, as the hint
    // counts them (Hint::pending). Any thread.
    std::atomic<u32>& blocking_writes() { return blocking_writes_; }
    const std::atomic<u32>& blocking_writes() const { return blocking_writes_; }

    // Whether the image's file takes RWF_NOWAIT, as far as known; one refusal settles it for all
    // shards. Any thread.
    bool nowait_supported(bool direct, bool read) const {
        return nowait_supported_[nowait_index(direct, read)].load(std::memory_order_relaxed);
    }
    void note_nowait_unsupported(bool direct, bool read) {
        nowait_supported_[nowait_index(direct, read)].store(false, std::memory_order_relaxed);
    }

private:
    static constexpr u64 stopped_bit = u64{1} << 63;
    static constexpr u64 no_end = stopped_bit - 1;

    void stop(Op op, Errno error);

    static constexpr u32 nowait_index(bool direct, bool read) {
        return (direct ? 2U : 0U) + (read ? 1U : 0U);
    }

    const backing::Backing& backing_;
    Buffers buffers_;
    std::atomic<bool> poisoned_ = false;
    std::atomic<u64> failures_ = 0;
    std::atomic<u64> first_failure_ = 0;  // since_s, op and errno: 32, 16 and 16 bits
    // The image's end, or no_end, and above it a bit that makes the whole a negative number: so
    // that admission finds out with one comparison that a change is not to be made.
    std::atomic<u64> refused_from_ = no_end;
    std::atomic<u64> stop_cause_ = 0;  // as first_failure_
    std::atomic<u64> held_ = 0;        // requests
    std::atomic<u64> held_cause_ = 0;  // as first_failure_, of the first of them
    std::atomic<OnError> on_error_ = OnError::report;
    Dispatching dispatching_;
    std::atomic<u32> lanes_ = 1;
    std::atomic<u32> blocking_writes_ = 0;
    std::array<std::atomic<bool>, 4> nowait_supported_ = {true, true, true, true};
};

}  // namespace ringloop::engine
