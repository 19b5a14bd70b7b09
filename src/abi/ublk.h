// The driver interface of ublk (include/uapi/linux/ublk_cmd.h, Linux 6.0), as far as this server
// speaks it; what came later names its kernel. Debian 12 ships the header of 6.1, so it is
// described here. All fields are in the byte order of the host.
#pragma once

#include <cerrno>
#include <cstddef>

#include "base/int.h"

namespace ringloop::abi::ublk {

// The driver counts in 512 bytes whatever the logical block size of the device is.
inline constexpr u32 sector_shift = 9;

// ---- Command numbers ----

// A command has two numbers: a small one (6.0), which kernels without
// CONFIG_BLKDEV_UBLK_LEGACY_OPCODES refuse, and one encoded as an ioctl (6.4).
struct Opcode {
    u32 legacy = 0;  // 0: the command is younger than the encoding
    u32 encoded = 0;
};

// include/uapi/asm-generic/ioctl.h: direction in bits 30-31, size of the argument from 16, type
// from 8, number from 0. Every argument here, ControlCommand and IoCommand, has its own size.
inline constexpr u32 ioctl_read = 2;
inline constexpr u32 ioctl_read_write = 3;
constexpr u32 ioctl_encode(u32 direction, u32 number, std::size_t size_bytes) {
    return direction << 30 | static_cast<u32>(size_bytes) << 16 | u32{'u'} << 8 | number;
}

// ---- Control: /dev/ublk-control ----

// Sits at byte 48 of a 128-byte submission entry.
struct ControlCommand {
    u32 device_id = 0;
    u16 queue_id = 0xffff;  // all ones for a command that concerns no queue
    u16 length = 0;         // bytes at `address`
    u64 address = 0;        // of the structure that goes in or comes out
    u64 data = 0;           // START_DEV, END_USER_RECOVERY: pid of the server (its thread group)
    // Unprivileged devices (6.3): bytes at `address` before the structure, within `length`. They
    // are the path of /dev/ublkcN, by whose mode the driver decides whether the caller may.
    u16 path_length = 0;
    u16 padding = 0;
    u32 reserved = 0;
};
static_assert(sizeof(ControlCommand) == 32);
static_assert(offsetof(ControlCommand, length) == 6);
static_assert(offsetof(ControlCommand, address) == 8);
static_assert(offsetof(ControlCommand, data) == 16);
static_assert(offsetof(ControlCommand, path_length) == 24);

inline constexpr u16 no_queue = 0xffff;
inline constexpr u32 any_device = 0xffffffff;  // ADD_DEV: the first free number

constexpr Opcode control_opcode(u32 direction, u32 number) {
    return {.legacy = number, .encoded = ioctl_encode(direction, number, sizeof(ControlCommand))};
}
inline constexpr Opcode get_device_info = control_opcode(ioctl_read, 0x02);
inline constexpr Opcode add_device = control_opcode(ioctl_read_write, 0x04);
inline constexpr Opcode delete_device = control_opcode(ioctl_read_write, 0x05);
inline constexpr Opcode start_device = control_opcode(ioctl_read_write, 0x06);
inline constexpr Opcode stop_device = control_opcode(ioctl_read_write, 0x07);
inline constexpr Opcode set_params = control_opcode(ioctl_read_write, 0x08);
inline constexpr Opcode get_params = control_opcode(ioctl_read, 0x09);
inline constexpr Opcode start_user_recovery = control_opcode(ioctl_read_write, 0x10);  // 6.1
inline constexpr Opcode end_user_recovery = control_opcode(ioctl_read_write, 0x11);    // 6.1
// 6.3; as get_device_info, with a path whoever asks.
inline constexpr Opcode get_device_info2 = control_opcode(ioctl_read, 0x12);
// 6.5; answers with features_size_bytes of UBLK_F_* bits.
inline constexpr Opcode get_features = {
    .legacy = 0, .encoded = ioctl_encode(ioctl_read, 0x13, sizeof(ControlCommand))};
inline constexpr u32 features_size_bytes = 8;
// 6.16; ControlCommand::data is the new size in sectors, which the driver takes as it is.
inline constexpr Opcode update_size = {
    .legacy = 0, .encoded = ioctl_encode(ioctl_read_write, 0x15, sizeof(ControlCommand))};

// Feature bits of DeviceInfo::flags. The driver clears those that it does not know.
inline constexpr u64 flag_complete_in_task = u64{1} << 1;  // 6.0; since 6.5 always on
inline constexpr u64 flag_user_recovery = u64{1} << 3;     // 6.1; the device outlives its server
// 6.1; what a dead server held is given to the next one instead of failing.
inline constexpr u64 flag_user_recovery_reissue = u64{1} << 4;
// 6.3; the device of a caller without CAP_SYS_ADMIN, cleared for others. Such a device has no user
// recovery and no partitions, and its server is killed when it leaves a request alone for 30 s.
inline constexpr u64 flag_unprivileged = u64{1} << 5;
inline constexpr u64 flag_ioctl_encode = u64{1} << 6;  // 6.4; set by the driver
inline constexpr u64 flag_update_size = u64{1} << 10;  // 6.16; of the driver: it knows update_size

// DeviceInfo::state
inline constexpr u16 state_dead = 0;
inline constexpr u16 state_live = 1;
inline constexpr u16 state_quiesced = 2;  // 6.1; the server is gone, I/O waits
inline constexpr u16 state_fail_io = 3;   // 6.13; the server is gone, I/O fails

// ADD_DEV, GET_DEV_INFO.
struct DeviceInfo {
    u16 queue_count = 0;
    u16 queue_depth = 0;
    u16 state = 0;
    u16 padding0 = 0;
    u32 io_bytes_max = 0;  // rounded down to whole pages by the driver
    u32 device_id = 0;
    i32 server_pid = 0;
    u32 padding1 = 0;
    u64 flags = 0;
    u64 server_flags = 0;  // kept by the driver for the server, never looked at
    u32 owner_uid = 0;
    u32 owner_gid = 0;
    u64 reserved[2] = {};
};
static_assert(sizeof(DeviceInfo) == 64);
static_assert(offsetof(DeviceInfo, io_bytes_max) == 8);
static_assert(offsetof(DeviceInfo, server_pid) == 16);
static_assert(offsetof(DeviceInfo, flags) == 24);
static_assert(offsetof(DeviceInfo, owner_uid) == 40);

inline constexpr u32 queues_max = 4096;
inline constexpr u32 depth_max = 4096;

// BasicParams::attributes
inline constexpr u32 attribute_read_only = 1u << 0;
inline constexpr u32 attribute_rotational = 1u << 1;
inline constexpr u32 attribute_volatile_cache = 1u << 2;
inline constexpr u32 attribute_fua = 1u << 3;  // ignored without a volatile cache

struct BasicParams {
    u32 attributes = 0;
    u8 logical_block_shift = 0;   // 9 to the shift of a page
    u8 physical_block_shift = 0;  // at least the logical one
    u8 io_optimal_shift = 0;
    u8 io_min_shift = 0;
    u32 sectors_max = 0;  // of one request, within DeviceInfo::io_bytes_max
    u32 chunk_sectors = 0;
    u64 device_sectors = 0;
    u64 virtual_boundary_mask = 0;
};
static_assert(sizeof(BasicParams) == 32);

struct DiscardParams {
    u32 alignment = 0;
    u32 granularity = 0;  // bytes; never 0
    u32 sectors_max = 0;
    u32 write_zeroes_sectors_max = 0;
    u16 segments_max = 0;  // the driver takes 1 only
    u16 reserved = 0;
};
static_assert(sizeof(DiscardParams) == 20);

// GET_PARAMS only. The disk's numbers are 0 until the device was started.
struct DeviceNumbers {
    u32 char_major = 0;
    u32 char_minor = 0;
    u32 disk_major = 0;
    u32 disk_minor = 0;
};
static_assert(sizeof(DeviceNumbers) == 16);

inline constexpr u32 params_basic = 1u << 0;
inline constexpr u32 params_discard = 1u << 1;

// SET_PARAMS, GET_PARAMS. The driver copies the smaller of `length` and its own size, so the
// parameters of later kernels may be left off.
struct Params {
    u32 length = sizeof(Params);
    u32 types = 0;  // params_*: which of the following are meant
    BasicParams basic;
    DiscardParams discard;
    DeviceNumbers numbers;
    u32 padding = 0;
};
static_assert(sizeof(Params) == 80);
static_assert(offsetof(Params, basic) == 8);
static_assert(offsetof(Params, discard) == 40);
static_assert(offsetof(Params, numbers) == 60);

// ---- Data: /dev/ublkcN ----

// Sits at byte 48 of a submission entry of either size.
struct IoCommand {
    u16 queue_id = 0;
    u16 tag = 0;
    i32 result = 0;   // COMMIT_AND_FETCH_REQ: bytes, 0, or -errno
    u64 address = 0;  // of the tag's buffer, page aligned; stable until the command completes
};
static_assert(sizeof(IoCommand) == 16);
static_assert(offsetof(IoCommand, result) == 4);
static_assert(offsetof(IoCommand, address) == 8);

constexpr Opcode io_opcode(u32 number) {
    return {.legacy = number, .encoded = ioctl_encode(ioctl_read_write, number, sizeof(IoCommand))};
}
inline constexpr Opcode fetch = io_opcode(0x20);
inline constexpr Opcode commit_and_fetch = io_opcode(0x21);

// Results of both commands.
inline constexpr i32 fetched = 0;
inline constexpr i32 aborted = -ENODEV;  // this tag must not be fetched again

// IoDescriptor::op_flags & op_mask
inline constexpr u32 op_mask = 0xff;
inline constexpr u32 op_read = 0;
inline constexpr u32 op_write = 1;
inline constexpr u32 op_flush = 2;
inline constexpr u32 op_discard = 3;
inline constexpr u32 op_write_zeroes = 5;

// Bits of the whole word op_flags: not of its upper 24 bits shifted down, although the kernel's
// own accessor shifts. Two servers that believed the accessor never see NOUNMAP.
inline constexpr u32 io_flag_fua = 1u << 13;
inline constexpr u32 io_flag_no_unmap = 1u << 15;

// One for each tag, in memory shared with the driver: written before the fetch completes.
struct IoDescriptor {
    u32 op_flags = 0;
    u32 sector_count = 0;
    u64 start_sector = 0;
    u64 address = 0;
};
static_assert(sizeof(IoDescriptor) == 24);
static_assert(offsetof(IoDescriptor, start_sector) == 8);
static_assert(offsetof(IoDescriptor, address) == 16);

// Where a queue's descriptors are mapped from: as if every queue had the greatest depth, with the
// page size of the running kernel (4 KiB, or 16 or 64 KiB on arm64).
constexpr u64 descriptors_offset(u32 queue_id, u64 page_size_bytes) {
    return queue_id * align_up(u64{depth_max} * sizeof(IoDescriptor), page_size_bytes);
}
constexpr u64 descriptors_length(u32 depth, u64 page_size_bytes) {
    return align_up(u64{depth} * sizeof(IoDescriptor), page_size_bytes);
}

}  // namespace ringloop::abi::ublk
