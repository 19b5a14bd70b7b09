// The log of a server in the background, read from outside while the server writes it.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "base/unique_fd.h"
#include "control/runtime_dir.h"

namespace ringloop::control {

struct LogLine {
    std::string time;   // UTC, "2025-01-31T12:00:00.123Z"; empty where the line has none
    std::string level;  // "info", "warning", "error"; empty with the time
    std::string text;

    bool operator==(const LogLine&) const = default;
};
// Lines of others, such as a failed assertion, have neither time nor level.
LogLine parse_log_line(std::string_view line);

class LogReader {
public:
    LogReader(const RuntimeDir& directory, std::string name)
        : directory_(directory), name_(std::move(name)) {}

    const std::string& name() const { return name_; }
    // The lines since the last time, at first all that are kept. Follows the log into the next file
    // when this one is full, and reads what is written after it was removed.
    std::vector<LogLine> next();
    // Whether there was a log: a server in the foreground has none.
    bool found() const { return static_cast<bool>(fd_); }

private:
    UniqueFd open(const std::string& path) const;
    bool is_current() const;
    void read_rest(int fd, std::vector<LogLine>& lines);

    const RuntimeDir& directory_;
    const std::string name_;
    UniqueFd fd_;
    std::string begun_;  // a line whose end is not written yet
};

}  // namespace ringloop::control
