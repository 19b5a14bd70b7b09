// The command line of util-linux's losetup(8), as its 2.38 reads it: the same options, the same
// refusals, the same exit codes. (What is meant otherwise is in ringloop-losetup(8).)
#pragma once

#include <expected>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/int.h"

namespace ringloop::cli {

struct LosetupCommand {
    enum class Action : u8 {
        list,    // of all devices, one, or those of a file
        find,    // the first unused one is named, or made of `file`
        attach,  // `file` as `devices[0]`
        detach,
        detach_all,
        set_capacity,  // of devices[0]: that of its image
        change,        // direct I/O or the sector size of devices[0]
        remove,
        help,
        version,
    };

    Action action = Action::list;
    std::vector<std::string> devices;
    std::string file;  // of find, attach, and of list with --associated

    u64 offset_bytes = 0;
    bool has_offset = false;
    u64 sizelimit_bytes = 0;
    u32 sector_size_bytes = 0;  // 0: not given
    bool read_only = false;
    bool partscan = false;
    bool show = false;
    bool no_overlap = false;
    std::string ref;
    std::optional<bool> direct_io;

    bool table = false;  // not the lines of old
    bool json = false;
    bool raw = false;
    bool no_headings = false;
    std::vector<std::string_view> columns;  // of losetup_columns(), in the order that was asked for
};

// The names of all columns in the order of --output-all.
const std::vector<std::string_view>& losetup_columns();

// Without the program's name. What is refused has been said on stderr: the exit code.
std::expected<LosetupCommand, int> parse_losetup(const std::vector<std::string>& arguments);

// "losetup: message" on stderr. Returns 1.
int losetup_fails(std::string_view message);

}  // namespace ringloop::cli
