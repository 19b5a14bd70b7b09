// What the transports that make a block device have in common.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"

namespace ringloop::control {

// Loads a driver unless it is there or we may not. `arguments`: of the module, "nbds_max=16".
void load_module(const std::string& module, const std::vector<std::string>& arguments = {});

// Waits until the disk can be opened and each partition that the kernel found has its node.
Status wait_for_nodes(const std::string& device);

// Of the partitions that the kernel found when the disk appeared: what reads the table again brings
// them back.
void remove_partitions(const std::string& device);

// A disk with one hardware queue gets mq-deadline by default. Below us the image's own disk has a
// scheduler, and our plug merges: a second one costs every request twice and sorts for no spindle.
// The kernel's loop driver asks for none too (BLK_MQ_F_NO_SCHED_BY_DEFAULT). A kernel that has no
// such file, or refuses, keeps its choice: the device works with any.
void use_no_scheduler(const std::string& device);

// The kernel's own flag of the disk and its partitions (BLKROSET), for those who open it from now
// on. EROFS: the driver made the disk read-only with a flag of its own, which stays.
Status set_read_only(const std::string& device, bool read_only);

// Takes back what set_read_only(device, true) said of the disk. Some disks live on without an image
// (/dev/nbd0), and keep it. A disk that cannot be opened keeps it too.
void forget_read_only(const std::string& device);

// Writes one value to a file of /sys. False where there is none, or it is refused.
bool write_setting(const std::string& path, const std::string& value);

}  // namespace ringloop::control
