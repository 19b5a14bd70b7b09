// What carries the requests of one device between their issuer and the shards. A server brings it
// up and takes it down in this order:
//
//   create or take_over   control thread   the kernel knows the device, nobody can use it yet
//   join                  shard threads    each shard gets its queue
//   bring_up              control thread   shards serve; the device is usable when it returns
//   attend                control thread   shards serve; whenever its Attention was raised
//   resize                control thread   shards serve; the kernel shows another size afterwards
//   stop                  control thread   shards serve; no request is left when it returns
//   leave                 shard threads    each gives its queue back, its loop has ended
//   remove                control thread   the device is gone
//
// stop and remove undo whatever was done, in any state, so the end of a device and the undoing of a
// failed start are one way. When stop fails, requests are still with the shards and nothing that
// they use may be destroyed: the process has to exit, which gives them back to the kernel.
#pragma once

#include <functional>
#include <memory>
#include <string>

#include "backing/backing.h"
#include "base/result.h"
#include "cgroup/issuers.h"
#include "control/attention.h"
#include "control/options.h"
#include "control/state.h"
#include "engine/shard.h"
#include "frontend/nbd/service.h"

namespace ringloop::control {

class Transport {
public:
    virtual ~Transport() = default;

    virtual TransportChoice kind() const = 0;
    virtual std::string device_path() const = 0;
    virtual u32 queues() const = 0;  // one shard each
    virtual u32 depth() const = 0;   // requests in flight in each
    // Of its own requests in flight, all together: not of the service's.
    virtual u64 buffer_bytes_max() const { return 0; }
    // Connections of the service that belong to a driver of the kernel, now.
    virtual u32 kernel_connections() const { return 0; }

    virtual Status join(u32 index, engine::Shard& shard) = 0;
    virtual void leave(u32 index) = 0;

    virtual Status bring_up() = 0;
    // An error: the device is lost, and the server should end.
    virtual Status attend() { return {}; }
    // Whether the device can be resized here; changes nothing. Without a device there is nobody to
    // tell: clients of sockets ask when they connect.
    virtual Status may_resize() { return {}; }
    virtual Status resize(u64 size_bytes [[maybe_unused]]) { return {}; }
    virtual Status stop() = 0;
    virtual Status remove() = 0;
};

// What the transports of one device share. Outlives them.
struct TransportContext {
    const backing::Geometry& geometry;
    u64 size_bytes = 0;               // of the device; the image may have more
    nbd::Service* service = nullptr;  // null: only ublk is wanted
    u32 service_shards = 0;
    const Attention* attention = nullptr;
    std::string backend_identifier;  // of a new device of nbd.ko
    // Attached for the queues and the depth of the device, and watching none yet; null: requests do
    // not name their cgroup. Used by ublk.
    cgroup::Issuers* issuers = nullptr;
};

// Called with "/dev/ublkb0" before that device is made, so that a server that dies at any moment
// leaves a trace of what it may have made. EBUSY: not this one, take another.
using Announce = std::function<Status(const std::string& device_path)>;

// What `automatic` means on this host, and for this user.
struct Decision {
    TransportChoice transport = TransportChoice::socket;
    std::string reason;  // why not the ones before it; empty when it is the first
};
Decision decide_transport();

// "/dev/ublkb0": the block device that would be made now, if nobody is faster. An error: the host
// has no driver for one, or all are in use.
Result<std::string> first_free_device();

// How many connections the nbd driver is given: one unless more are asked for, for the reason in
// frontend/nbd/kernel_device.h.
u32 driver_connections(const DeviceOptions& options);

// The block device that the options ask for: ublk or nbd. An error says what the host lacks and the
// way out.
Result<std::unique_ptr<Transport>> create_transport(const DeviceOptions& options,
                                                    const TransportContext& context,
                                                    const Announce& announce);

// The device of a dead server, as it is: until bring_up succeeded, a failure leaves it so.
Result<std::unique_ptr<Transport>> take_over_transport(const DeviceState& state,
                                                       const TransportContext& context);

// Whether something may be left of the device; asks nobody, so any user may know.
bool may_remain(const DeviceState& state);

// What is left of a device whose server is gone.
enum class Remains : u8 {
    none,         // nothing, or a device that is somebody else's by now
    recoverable,  // requests wait for the next server, or its clients look for it
    unusable,     // never became live; can only be removed
};
Result<Remains> remains_of(const DeviceState& state);

// Ends a device whose server is gone; requests that wait for it fail.
Status remove_remains(const DeviceState& state);

// After the last user closed the device: whether the kernel has let go of it, too. Nodes of
// partitions that the kernel forgot to remove are removed.
bool is_gone(const DeviceState& state);

}  // namespace ringloop::control
