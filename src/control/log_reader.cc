#include "control/log_reader.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>

namespace ringloop::control {
namespace {

constexpr std::size_t line_bytes_max = 64 * 1024;  // a file without newlines is no log
// "2025-01-31T12:00:00.123Z"; 0 stands for a digit.
constexpr std::string_view time_shape = "0000-00-00T00:00:00.000Z";

bool is_time(std::string_view text) {
    return std::ranges::equal(text, time_shape, [](char c, char shape) {
        return shape == '0' ? c >= '0' && c <= '9' : c == shape;
    });
}

}  // namespace

LogLine parse_log_line(std::string_view line) {
    const std::string_view time = line.substr(0, time_shape.size());
    const std::size_t level_end = line.find(' ', time_shape.size() + 1);
    if (!is_time(time) || line.substr(time.size()).substr(0, 1) != " " ||
        level_end == std::string_view::npos) {
        return {.time = "", .level = "", .text = std::string(line)};
    }
    return {.time = std::string(time),
            .level = std::string(line.substr(time.size() + 1, level_end - time.size() - 1)),
            .text = std::string(line.substr(level_end + 1))};
}

std::vector<LogLine> LogReader::next() {
    std::vector<LogLine> lines;
    if (!fd_) {
        const UniqueFd older = open(directory_.older_log_path(name_));
        fd_ = open(directory_.log_path(name_));
        if (!fd_) return lines;
        if (older) read_rest(older.get(), lines);
    }
    read_rest(fd_.get(), lines);
    if (is_current()) return lines;
    UniqueFd newer = open(directory_.log_path(name_));
    if (!newer) return lines;  // removed, with its device
    // Between the last look and now it may have got its last lines.
    read_rest(fd_.get(), lines);
    fd_ = std::move(newer);
    read_rest(fd_.get(), lines);
    return lines;
}

UniqueFd LogReader::open(const std::string& path) const {
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    struct stat file{};
    if (!fd || ::fstat(fd.get(), &file) != 0 || !S_ISREG(file.st_mode)) return {};
    return fd;
}

bool LogReader::is_current() const {
    struct stat open_file{}, named_file{};
    return ::fstat(fd_.get(), &open_file) == 0 &&
           ::stat(directory_.log_path(name_).c_str(), &named_file) == 0 &&
           open_file.st_ino == named_file.st_ino && open_file.st_dev == named_file.st_dev;
}

void LogReader::read_rest(int fd, std::vector<LogLine>& lines) {
    std::array<char, 16 * 1024> part;
    for (;;) {
        const ssize_t length = ::read(fd, part.data(), part.size());
        if (length <= 0) return;
        begun_.append(part.data(), static_cast<std::size_t>(length));
        std::size_t begin = 0;
        for (std::size_t end = 0; (end = begun_.find('\n', begin)) != std::string::npos;
             begin = end + 1) {
            lines.push_back(parse_log_line(std::string_view(begun_).substr(begin, end - begin)));
        }
        begun_.erase(0, begin);
        if (begun_.size() <= line_bytes_max) continue;
        lines.push_back(parse_log_line(begun_));
        begun_.clear();
    }
}

}  // namespace ringloop::control
