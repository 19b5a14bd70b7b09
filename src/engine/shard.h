// A shard is one thread with one ring: the requests of its queues and their backing I/O share it,
// and each pass of its loop costs one system call. Shards share nothing but the Device.
#pragma once

#include <atomic>
#include <memory>
#include <utility>

#include "base/unique_fd.h"
#include "engine/device.h"
#include "engine/dispatch.h"
#include "engine/held.h"
#include "engine/plug.h"
#include "engine/stats.h"
#include "io/kernel.h"

namespace ringloop::engine {

class Shard;

// Something for a shard's thread to do, sent from another thread. Not owned; in place until run.
struct Message {
    void (*run)(Message&, Shard&) = nullptr;
    Message* next = nullptr;
};

// Something that wants to act once in this pass, after what the pass brought in was answered: a
// connection that sends all its replies together. Not owned.
struct PassEnd {
    void (*run)(PassEnd&) = nullptr;
    PassEnd* next = nullptr;
    bool queued = false;
};

class Shard {
public:
    // On the shard's own thread. `requests_max`: slots of all its frontends together.
    // `wakeup_fd`: an eventfd with EFD_NONBLOCK, by which others wake it too; made if empty.
    static Result<std::unique_ptr<Shard>> create(io::Kernel& kernel, Device& device,
                                                 u32 requests_max, UniqueFd wakeup_fd = {});
    ~Shard();

    // The life of a request starts here. Shard's thread, from a callback of the loop; the request
    // is answered by its `done`, later, from the loop.
    void submit(Request& request);

    // Shard's thread, before run(): lanes for other cgroups, which outlive the loop.
    void serve(Tenants& tenants);

    // Shard's thread: serves until stop() was called and nothing is in flight.
    void run();
    // The two parts of it, for a loop that somebody else turns (src/sim): messages are listened for
    // after begin(), and turn() is one pass, false once it was the last.
    void begin();
    bool turn(u64 wait_ns_max);

    // Shard's thread. `run` is called at the end of this pass, once however often it was asked for.
    // It may submit requests.
    void at_pass_end(PassEnd& end);

    // Shard's thread: slots for a frontend that comes while the shard serves, and their return.
    // Allocates: not on the path of a request.
    void reserve(u32 requests);
    void unreserve(u32 requests);

    // Any thread, while the loop runs. The destructor waits for calls that have not returned when
    // the loop ends by them.
    void post(Message& message);
    void stop();

    // Shard's thread. Between freeze and thaw, requests are held back before admission; `on_frozen`
    // is called from the loop once none is in flight below.
    void freeze(void (*on_frozen)(void*), void* context);
    void thaw();

    // Shard's thread: requests that wait for room (held.h) are tried again, all of them; while it
    // is frozen, thaw does it. Or answered, if they have become impatient.
    void retry_held();
    void answer_impatient();

    // For a change of the image (image_change.h): files of another one, which `spare` brings open.
    // Taken and dropped on the shard's thread; used instead of those that it has, which become the
    // spare, while it is frozen.
    Status take_spare(backing::Handle spare);
    void use_spare() { std::swap(handle_, spare_); }
    void drop_spare() { backing::Backing::close_handle(kernel_, spare_); }

    // One turn of the loop: what was submitted goes out, what completed is answered and followed.
    // Waits for that at most wait_ns_max.
    void pass(u64 wait_ns_max);

    io::Kernel& kernel() { return kernel_; }
    const backing::Handle& handle() const { return handle_; }
    Device& device() { return device_; }
    const ShardStats& stats() const { return stats_; }

    // For the lanes of other cgroups, on the shard's thread.
    ShardStats& counters() { return stats_; }
    Status settle() { return dispatch_.settle(); }

private:
    // The eventfd that wakes the loop for messages.
    struct Wakeup : io::Completion {
        Shard* shard = nullptr;
        bool armed = false;
        u64 count = 0;
    };

    Shard(io::Kernel& kernel, Device& device, backing::Handle handle, UniqueFd wakeup_fd,
          u32 requests_max);

    void pass_end();
    void admit(Request& request);
    void finish(Request& request);
    void not_done(Request& request);
    void wake();
    void wakeup_start();
    static void wakeup_on_event(io::Completion& completion);
    static void dispatch_on_answer(void* shard, Request& request);
    bool idle() const;

    io::Kernel& kernel_;
    Device& device_;
    backing::Handle handle_;
    backing::Handle spare_;
    UniqueFd wakeup_fd_;
    ShardStats stats_;

    // Owned by the shard's thread.
    Dispatch dispatch_;
    Tenants* tenants_ = nullptr;
    Plug plug_;               // fills transfers of dispatch_'s pool
    RequestList answered_;    // waiting for the end of the pass
    RequestList frozen_out_;  // arrived while frozen
    Held held_;               // found no room
    Fifo<PassEnd, &PassEnd::next> pass_ends_;
    u32 requests_reserved_;
    bool frozen_ = false;
    void (*on_frozen_)(void*) = nullptr;
    void* on_frozen_context_ = nullptr;
    u64 inflight_ = 0;
    Wakeup wakeup_;

    // Shared.
    std::atomic<Message*> mailbox_ = nullptr;
    std::atomic<u32> posting_ = 0;  // calls of post and stop under way
    std::atomic<bool> stopping_ = false;
};

}  // namespace ringloop::engine
