// Small files of /proc and /sys.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "base/result.h"

namespace ringloop::control {

inline constexpr u64 small_file_bytes_max = 4 * mib;

// The whole content; an error when it is longer than small_file_bytes_max.
Result<std::string> read_text(const std::string& path);
// Its first line without the newline, or "" where there is no such file.
std::string read_line(const std::string& path);
// The entries of a directory without "." and ".."; none where there is no such directory.
std::vector<std::string> entries_of(const std::string& directory);
// An absolute path without symbolic links, or nullopt where it names nothing.
std::optional<std::string> real_path(const std::string& path);

// What a relative path means now, kept for when the working directory is another. "" stays "".
Status make_absolute(std::string& path);

}  // namespace ringloop::control
