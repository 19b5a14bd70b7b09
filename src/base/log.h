// The log of a server: lines with a time (UTC) and a level, on stderr or in a file of bounded size.
// Never called per request: an error of the data path is logged once and counted from then on.
#pragma once

#include <fmt/format.h>

#include <string>
#include <utility>

#include "base/result.h"

namespace ringloop::log {

enum class Level { debug, info, warning, error };

// Before the first line and before the first thread. Without a call, lines go to stderr.
void to_stderr(Level lowest);
// At most 1 MiB and one older file of the same size beside it.
Status to_file(const std::string& path, Level lowest);

// Any thread.
void write(Level level, const std::string& line);

template <typename... Args>
void debug(fmt::format_string<Args...> text, Args&&... args) {
    write(Level::debug, fmt::format(text, std::forward<Args>(args)...));
}
template <typename... Args>
void info(fmt::format_string<Args...> text, Args&&... args) {
    write(Level::info, fmt::format(text, std::forward<Args>(args)...));
}
template <typename... Args>
void warning(fmt::format_string<Args...> text, Args&&... args) {
    write(Level::warning, fmt::format(text, std::forward<Args>(args)...));
}
template <typename... Args>
void error(fmt::format_string<Args...> text, Args&&... args) {
    write(Level::error, fmt::format(text, std::forward<Args>(args)...));
}

}  // namespace ringloop::log
