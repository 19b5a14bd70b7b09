#include "control/files.h"

#include <dirent.h>
#include <fcntl.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <filesystem>
#include <memory>

#include "base/unique_fd.h"

namespace ringloop::control {

Result<std::string> read_text(const std::string& path) {
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK));
    if (!fd) return fail_errno(errno, "{}", path);
    std::string text;
    std::array<char, 16384> part{};
    for (;;) {
        const ssize_t length = ::read(fd.get(), part.data(), part.size());
        if (length < 0 && errno == EINTR) continue;
        if (length < 0) return fail_errno(errno, "{}", path);
        if (length == 0) return text;
        text.append(part.data(), static_cast<std::size_t>(length));
        if (text.size() > small_file_bytes_max) return fail(EFBIG, "{}: too large", path);
    }
}

std::string read_line(const std::string& path) {
    std::string text = read_text(path).value_or("");
    text.resize(std::min(text.find('\n'), text.size()));
    return text;
}

std::vector<std::string> entries_of(const std::string& directory) {
    std::vector<std::string> names;
    const std::unique_ptr<DIR, int (*)(DIR*)> open(::opendir(directory.c_str()), ::closedir);
    if (!open) return names;
    while (const dirent* entry = ::readdir(open.get())) {
        const std::string_view name = entry->d_name;
        if (name != "." && name != "..") names.emplace_back(name);
    }
    return names;
}

std::optional<std::string> real_path(const std::string& path) {
    const std::unique_ptr<char, void (*)(void*)> resolved(::realpath(path.c_str(), nullptr),
                                                          std::free);
    if (!resolved) return std::nullopt;
    return std::string(resolved.get());
}

Status make_absolute(std::string& path) {
    if (path.empty() || path.starts_with('/')) return {};
    std::error_code error;
    const auto absolute = std::filesystem::absolute(path, error);
    if (error) return fail(error.value(), "{}: {}", path, error.message());
    path = absolute.lexically_normal().string();
    return {};
}

}  // namespace ringloop::control
