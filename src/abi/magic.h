// Which file system a file is on, as statfs(2) tells: linux/magic.h, and what that leaves out.
#pragma once

#include <linux/magic.h>

#include "base/int.h"

namespace ringloop::abi {

constexpr u32 configfs_magic = 0x62656570;
constexpr u32 fuse_connections_magic = 0x65735543;

}  // namespace ringloop::abi
