// Who holds a block device open, in words for the person who wants it detached.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "control/mounts.h"

namespace ringloop::control {

// One block device: the whole disk or a partition of it.
struct BlockNode {
    std::string name;  // "ublkb0p1"
    u32 major = 0;
    u32 minor = 0;
};

// The disk "/dev/ublkb0" and its partitions as /sys/block tells them; none when it is gone.
std::vector<BlockNode> nodes_of(const std::string& device);

// "mounted on /mnt", "pid 123 (fio) has it open", "used by dm-0", "in use as swap", "backs loop0".
// Empty when nobody holds it as far as this user may see. Each line names its partition, if any.
// `writing`: of them only those who may write to it; what stands on it counts as one.
enum class Holding : u8 { any, writing };
// Neither this process nor `besides`, another pid or 0, counts.
std::vector<std::string> holders_of(const std::string& device, Holding holding = Holding::any,
                                    i32 besides = 0);

// The parts that read text, for holders_of and for tests.
std::vector<std::string> mount_holders(std::span<const BlockNode> nodes,
                                       std::span<const Mount> mounts);
std::vector<std::string> swap_holders(std::span<const BlockNode> nodes, std::string_view swaps);

}  // namespace ringloop::control
