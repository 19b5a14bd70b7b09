// The control side of the kernel's own NBD client, /dev/nbdN: connected to sockets of ours, given
// new ones after a crash, resized, disconnected. Netlink of drivers/block/nbd.c, abi/nbd_netlink.h.
//
// Every call blocks the control thread and is bounded; none may run on a shard, because the driver
// may wait for one. What the driver does with requests (Linux 5.14 to 6.18):
//
//  - A connection that ends is "dead". New requests take another one; when all are dead they wait
//    for dead_connection_timeout_s, and then fail, as does everything that follows.
//  - Requests in flight on a dead connection are sent again when their timer expires, which is the
//    queue's io_timeout. With one connection and request_timeout_s 0 that timer does nothing else.
//    With several it also gives up the connection of a request that is merely slow and sends it
//    again on another one, although the server may still be working on the first.
//  - A replacement is taken only for a connection that the driver knows to be dead; without one it
//    answers success and closes the new socket.
//
// So one connection is what never sends a request twice to a server that lives.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "base/result.h"
#include "base/unique_fd.h"

namespace ringloop::nbd {

// The kernel keeps 2^20 minor numbers, 16 of them for a disk and its partitions.
inline constexpr u32 kernel_device_index_max = (1 << 16) - 1;

struct KernelConnection {
    u32 index = 0;
    u64 size_bytes = 0;
    u32 block_bytes = 512;  // power of two, 512 to the page size
    u16 flags = 0;          // transmission flags, abi/nbd.h; can_multi_conn for several sockets
    u64 dead_connection_timeout_s = 0;
    u64 request_timeout_s = 0;
    std::string backend_identifier;  // shown in /sys/block/nbdN/backend; reconnect needs the same
    std::span<const UniqueFd> sockets{};  // connected streams (unix or TCP), the driver's ends
};

// Loads what the functions below need, which do it too if need be: for a process that is about to
// leave the mounts in which it would be found.
Status prepare_kernel_calls();

// EBUSY: somebody else uses this device. The device may send requests before this returns.
Status kernel_connect(const KernelConnection& connection);

// One socket for the first dead connection; see above for what success does not say.
Status kernel_reconnect(u32 index, const std::string& backend_identifier, const UniqueFd& socket);

// The page cache keeps what lies within the new size.
Status kernel_resize(u32 index, const std::string& backend_identifier, u64 size_bytes);

// Requests in flight fail, and later ones too. The device is free when its last user closed it. A
// device that is not connected is no error.
Status kernel_disconnect(u32 index);

// Whether the driver answers, that is, is loaded and may be asked.
Status kernel_driver_answers();

std::string kernel_device_path(u32 index);  // "/dev/nbd0"
// The index of "/dev/nbd0", "nbd0"; nullopt when `device` is no such name.
std::optional<u32> kernel_device_index(const std::string& device);

}  // namespace ringloop::nbd
