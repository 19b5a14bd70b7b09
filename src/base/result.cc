#include "base/result.h"

#include <algorithm>
#include <cerrno>
#include <iterator>
#include <string_view>
#include <system_error>

namespace ringloop {
namespace {

struct WayOut {
    i32 number;
    std::string_view text;
};

// Those errnos whose way out does not depend on the call that failed.
constexpr WayOut ways_out[] = {
    {EACCES, "run as a user who may, or as root"},
    {EAGAIN, "try again, or raise ulimit -u"},
    {EDQUOT, "make space, or raise the quota"},
    {EIO, "see dmesg"},
    {EISDIR, "move that directory away"},
    {ELOOP, "see where its symbolic links lead"},
    {EMFILE, "raise ulimit -n"},
    {ENAMETOOLONG, "use a shorter name"},
    {ENFILE, "raise the sysctl fs.file-max"},
    {ENOLCK, "use a file system that has locks"},
    {ENOMEM, "free memory, or raise the limit of the cgroup"},
    {ENOSPC, "make space"},
    {ENOTDIR, "check the path"},
    {EPERM, "run as a user who may, or as root"},
    {EROFS, "choose a place that can be written to"},
};

}  // namespace

std::string errno_text(i32 number) { return std::generic_category().message(number); }

std::string cause_and_way_out(i32 number) {
    std::string text = errno_text(number);
    const auto* const way_out = std::ranges::find(ways_out, number, &WayOut::number);
    if (way_out != std::end(ways_out)) text.append("; ").append(way_out->text);
    return text;
}

}  // namespace ringloop
