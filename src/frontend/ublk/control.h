// The control side of ublk: a device is added, described, started, stopped, deleted, and taken over
// after its server died. Documentation/block/ublk.rst; include/uapi/linux/ublk_cmd.h.
//
// Every call blocks the control thread and every wait is bounded; none may run on a shard.
#pragma once

#include <memory>
#include <optional>
#include <span>
#include <string>

#include "abi/ublk.h"
#include "backing/backing.h"
#include "base/result.h"
#include "base/unique_fd.h"
#include "frontend/ublk/payload.h"
#include "io/command_ring.h"

namespace ringloop::ublk {

// What a device was added with, as the kernel reports it back: it may clamp queues, depth and
// io_bytes_max, and clear flags that it does not know.
struct DeviceInfo {
    u32 id = 0;
    u32 queues = 0;
    u32 depth = 0;
    u32 io_bytes_max = 0;  // largest read or write
    u64 flags = 0;         // abi::ublk::flag_*
    u32 state = 0;         // abi::ublk::state_*: dead, live, quiesced, fail_io
    i32 server_pid = 0;    // 0 or less: no server

    // False on Linux 6.0: the device ends with its server.
    bool recoverable() const { return (flags & abi::ublk::flag_user_recovery) != 0; }
};

struct AddOptions {
    i32 id = -1;  // -1: the first free one
    u32 queues = 1;
    u32 depth = 128;
    u32 io_bytes_max = 512 * 1024;
};

// Who gives orders to the driver.
enum class Caller : u8 {
    administrator,  // has CAP_SYS_ADMIN
    // Has not, and may add devices (6.3) where /dev/ublk-control can be opened. They are
    // unprivileged (abi::ublk::flag_unprivileged), and take orders from whoever may write to
    // /dev/ublkcN.
    user,
};

// Of an unprivileged device: whose it is.
struct Owner {
    u32 uid = 0;
    u32 gid = 0;
};

enum class Step : u8;

class Control {
public:
    // Where /dev/ublk-control is missing or not permitted, the error says what to do about it.
    static Result<Control> open(Caller caller);

    // UBLK_F_* bits of the driver; nullopt on kernels before 6.5, which cannot tell.
    Result<std::optional<u64>> features();
    // Whether this caller may add devices at all, as far as the kernel can tell.
    Status may_add();
    // ENODEV: there is no device of this id.
    Result<DeviceInfo> info(u32 id);
    // nullopt: the device is an administrator's. To be asked by one.
    Result<std::optional<Owner>> owner(u32 id);

    // Added with user recovery and reissue: when the server dies, the kernel holds the requests
    // and hands them to the next one.
    Result<DeviceInfo> add(const AddOptions& options);
    // Size, block sizes, limits, discard, read-only, write cache. Before start only.
    Status set_params(const DeviceInfo& info, const backing::Geometry& geometry);
    // What the kernel was told: a server that takes the device over must still fit it.
    Result<abi::ublk::Params> params(u32 id);
    // Of a device that is started; whole sectors. Whether the driver can, features() tells. ENODEV:
    // the disk is gone.
    Status resize(u32 id, u64 size_bytes);
    // Blocks until every tag of every queue was fetched, so the shards must be serving. Scans
    // partitions: reads are served before it returns. The caller's process must be the one that
    // opened /dev/ublkcN.
    Status start(u32 id);
    // No more requests reach the server, those in flight are answered, then the disk is gone.
    // Fetches end with -ENODEV. The shards must go on serving. Also ends the fetches of a device
    // that was never started. What the disk's page cache has not written by now is lost: whoever
    // cares makes sure first that nobody has the disk open.
    Status stop(u32 id);
    // After the last user of /dev/ublkcN closed it: the descriptor, the rings that have it
    // registered, and the mappings of the queues. ETIME after 30 s while somebody has it open: it
    // goes by itself with the last of them. A device that does not exist is removed.
    Status remove(u32 id);
    // EBUSY after 30 s when the old server still lives.
    Status start_recovery(u32 id);
    Status end_recovery(u32 id);

private:
    // Kernels before 6.4 know the legacy numbers only, later ones may know the encoded ones only.
    enum class Numbers : u8 { unknown, encoded, legacy };

    Control(UniqueFd fd, io::CommandRing ring, Caller caller);

    Result<i32> send(Step step, const abi::ublk::ControlCommand& header);
    Result<i32> send_number(Step step, u32 number, const abi::ublk::ControlCommand& header);
    Result<i32> send_structure(Step step, u32 id, std::span<std::byte> structure, u64 data = 0);
    Status run(Step step, u32 id, u64 data);

    UniqueFd fd_;
    io::CommandRing ring_;
    Caller caller_;
    std::unique_ptr<Payload> payload_;
    Numbers numbers_ = Numbers::unknown;
};

// Of a new device that is unprivileged: until udev has given its node to this user, a bounded time.
Status wait_until_given(u32 id);

// Opens /dev/ublkcN, waiting a bounded time for udev, which may hold it for a moment.
Result<UniqueFd> open_char_device(u32 id);

std::string block_device_path(u32 id);  // "/dev/ublkb0"
std::string char_device_path(u32 id);   // "/dev/ublkc0"
// The id of "/dev/ublkb0", "ublkb0"; nullopt when `device` is no such name.
std::optional<u32> id_of(const std::string& device);

}  // namespace ringloop::ublk
