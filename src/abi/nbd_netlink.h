// How the kernel's nbd driver is told what to do: the generic netlink family "nbd".
// include/uapi/linux/nbd-netlink.h and nbd.h; Linux 4.12, BACKEND_IDENTIFIER 5.14.
#pragma once

#include "base/int.h"

namespace ringloop::abi::nbd_netlink {

inline constexpr const char* family_name = "nbd";
inline constexpr u8 version = 1;
// Link_dead is sent to this group when a connection is lost.
inline constexpr const char* group_name = "nbd_mc_group";

inline constexpr u8 command_connect = 1;
inline constexpr u8 command_disconnect = 2;
inline constexpr u8 command_reconfigure = 3;
inline constexpr u8 command_link_dead = 4;
inline constexpr u8 command_status = 5;

// Attributes of a message. Sizes in bytes, times in seconds; u64 unless noted.
inline constexpr int attribute_index = 1;  // u32; connect without it takes any free device
inline constexpr int attribute_size_bytes = 2;
inline constexpr int attribute_block_size_bytes = 3;
inline constexpr int attribute_timeout = 4;  // of a request; 0: it may take as long as it takes
inline constexpr int attribute_server_flags = 5;  // transmission flags, abi/nbd.h
inline constexpr int attribute_client_flags = 6;
inline constexpr int attribute_sockets = 7;                  // nested: items of file descriptors
inline constexpr int attribute_dead_connection_timeout = 8;  // 0: requests fail without a server
inline constexpr int attribute_device_list = 9;              // nested, in the answer to status
inline constexpr int attribute_backend_identifier = 10;      // text; guards reconfigure

inline constexpr int socket_item = 1;  // in attribute_sockets
inline constexpr int socket_fd = 1;    // in socket_item, u32

inline constexpr int device_item = 1;       // in attribute_device_list
inline constexpr int device_index = 1;      // in device_item, u32
inline constexpr int device_connected = 2;  // in device_item, u8

inline constexpr u64 client_flag_destroy_on_disconnect = 1 << 0;
inline constexpr u64 client_flag_disconnect_on_close = 1 << 1;

}  // namespace ringloop::abi::nbd_netlink
