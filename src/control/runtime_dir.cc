#include "control/runtime_dir.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <array>
#include <cstdlib>
#include <memory>

namespace ringloop::control {
namespace {

constexpr int lock_attempts_max = 100;
constexpr u32 numbers_max = 4096;

// Open-file-description locks: released with the last descriptor, and they can be asked for without
// being taken (F_OFD_GETLK, fcntl(2)), which flock(2) cannot. One byte of NAME.lock each.
enum class Byte : off_t {
    life,      // held by the server
    requests,  // held by its rings, so until the last request has ended
};
struct flock range_of(Byte byte, short type) {
    struct flock range{};
    range.l_type = type;
    range.l_whence = SEEK_SET;
    range.l_start = static_cast<off_t>(byte);
    range.l_len = 1;
    return range;
}

// Whether `name` still means the file that is open: its owner may have removed it meanwhile.
bool is_same_file(int dir, const std::string& name, int fd) {
    struct stat open_file{}, named_file{};
    return ::fstat(fd, &open_file) == 0 &&
           ::fstatat(dir, name.c_str(), &named_file, AT_SYMLINK_NOFOLLOW) == 0 &&
           open_file.st_ino == named_file.st_ino && open_file.st_dev == named_file.st_dev;
}

// Takes nothing, so it disturbs nobody.
bool is_held(int dir, const std::string& file, Byte byte) {
    const UniqueFd fd(::openat(dir, file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW));
    if (!fd) return false;
    struct flock range = range_of(byte, F_RDLCK);
    return ::fcntl(fd.get(), F_OFD_GETLK, &range) == 0 && range.l_type != F_UNLCK;
}

Result<std::string> read_whole(int fd, const std::string& source) {
    std::string text;
    std::array<char, 4096> part{};
    for (;;) {
        const ssize_t length = ::read(fd, part.data(), part.size());
        if (length < 0 && errno == EINTR) continue;
        if (length < 0) return fail_errno(errno, "{}", source);
        if (length == 0) return text;
        text.append(part.data(), static_cast<std::size_t>(length));
        if (text.size() > state_file_bytes_max) {
            return fail(EFBIG, "{}: too large to be a state file", source);
        }
    }
}

Status write_whole(int fd, std::string_view text) {
    while (!text.empty()) {
        const ssize_t length = ::write(fd, text.data(), text.size());
        if (length < 0 && errno == EINTR) continue;
        if (length < 0) return fail_errno(errno, "write");
        text.remove_prefix(static_cast<std::size_t>(length));
    }
    return {};
}

// mkdir -p of the last component alone: a missing /run is somebody else's affair.
Status create_directory(const std::string& path) {
    const mode_t mode = ::geteuid() == 0 ? 0755 : 0700;
    if (::mkdir(path.c_str(), mode) == 0 || errno == EEXIST) return {};
    return fail_errno(errno, "cannot create the runtime directory {}", path);
}

}  // namespace

Result<std::string> choose_runtime_path(const RuntimeDirInputs& inputs) {
    const auto given = [](const char* text) { return text && *text; };
    if (given(inputs.ringloop_runtime_dir)) {
        const std::string path = inputs.ringloop_runtime_dir;
        if (path[0] == '/') return path;
        return fail(EINVAL, "RINGLOOP_RUNTIME_DIR '{}': must be an absolute path", path);
    }
    if (inputs.root) return std::string("/run/ringloop");
    if (given(inputs.xdg_runtime_dir)) return std::string(inputs.xdg_runtime_dir) + "/ringloop";
    return fail(ENOENT,
                "no runtime directory: run as root, or set XDG_RUNTIME_DIR (a login session does) "
                "or RINGLOOP_RUNTIME_DIR");
}

Result<RuntimeDir> RuntimeDir::open() {
    auto path = choose_runtime_path({.ringloop_runtime_dir = std::getenv("RINGLOOP_RUNTIME_DIR"),
                                     .xdg_runtime_dir = std::getenv("XDG_RUNTIME_DIR"),
                                     .root = ::geteuid() == 0});
    if (!path) return std::unexpected(std::move(path).error());
    return open_at(*path);
}

Result<RuntimeDir> RuntimeDir::open_at(const std::string& path) {
    TRY(create_directory(path));
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (!fd) return fail_errno(errno, "cannot open the runtime directory {}", path);
    struct stat status{};
    if (::fstat(fd.get(), &status) != 0) return fail_errno(errno, "{}", path);
    // Whoever owns the directory decides what its state files say.
    if (status.st_uid != ::geteuid() && status.st_uid != 0) {
        return fail(EPERM,
                    "the runtime directory {} belongs to another user; set RINGLOOP_RUNTIME_DIR",
                    path);
    }
    return RuntimeDir(path, std::move(fd));
}

Result<NameLock> RuntimeDir::lock(const std::string& name) const {
    const std::string file = name + ".lock";
    for (int attempt = 0; attempt < lock_attempts_max; ++attempt) {
        UniqueFd fd(
            ::openat(fd_.get(), file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0644));
        if (!fd) return fail_errno(errno, "cannot open {}/{}", path_, file);
        struct flock range = range_of(Byte::life, F_WRLCK);
        if (::fcntl(fd.get(), F_OFD_SETLK, &range) != 0) {
            if (errno != EAGAIN && errno != EACCES) {
                return fail_errno(errno, "cannot lock {}/{}", path_, file);
            }
            return fail(EBUSY, "a device named '{}' exists already; see ringloop list", name);
        }
        if (is_same_file(fd_.get(), file, fd.get())) return NameLock(name, std::move(fd));
    }
    return fail(EBUSY, "{}/{} is replaced again and again; is something else using it?", path_,
                file);
}

Result<NameLock> RuntimeDir::adopt_lock(const std::string& name, UniqueFd fd) const {
    struct flock range = range_of(Byte::life, F_WRLCK);
    // Granted to whoever holds it already.
    if (is_same_file(fd_.get(), name + ".lock", fd.get()) &&
        ::fcntl(fd.get(), F_OFD_SETLK, &range) == 0) {
        return NameLock(name, std::move(fd));
    }
    return fail(EBADF, "'{}': what its server gave is not the lock of that name; detach and attach",
                name);
}

Result<NameLock> RuntimeDir::lock_first_free(const std::string& prefix) const {
    for (u32 number = 0; number < numbers_max; ++number) {
        auto locked = lock(fmt::format("{}{}", prefix, number));
        if (!locked && locked.error().number == EBUSY) continue;
        if (!locked) return locked;
        const auto found = read_state(locked->name());
        if (!found && found.error().number == ENOENT) return locked;
    }
    return fail(EBUSY, "{}0 to {}{} are all in use: detach one", prefix, prefix, numbers_max - 1);
}

bool RuntimeDir::is_locked(const std::string& name) const {
    return is_held(fd_.get(), name + ".lock", Byte::life);
}

Result<UniqueFd> RuntimeDir::request_mark(const NameLock& lock) const {
    const std::string file = lock.name() + ".lock";
    UniqueFd fd(::openat(fd_.get(), file.c_str(), O_RDWR | O_CLOEXEC | O_NOFOLLOW));
    if (!fd) return fail_errno(errno, "cannot open {}/{}", path_, file);
    struct flock range = range_of(Byte::requests, F_WRLCK);
    if (::fcntl(fd.get(), F_OFD_SETLK, &range) != 0) {
        return fail(EBUSY,
                    "{}/{}: requests of a dead server are still with its image; see that its disk "
                    "or server answers",
                    path_, file);
    }
    return fd;
}

bool RuntimeDir::has_requests(const std::string& name) const {
    return is_held(fd_.get(), name + ".lock", Byte::requests);
}

Result<std::vector<std::string>> RuntimeDir::names() const { return names_with(".json"); }

Result<std::vector<std::string>> RuntimeDir::names_with(std::string_view suffix) const {
    const int fd = ::openat(fd_.get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0) return fail_errno(errno, "{}", path_);
    const std::unique_ptr<DIR, int (*)(DIR*)> directory(::fdopendir(fd), ::closedir);
    if (!directory) return fail_errno(errno, "{}", path_);
    std::vector<std::string> names;
    while (const dirent* entry = ::readdir(directory.get())) {
        std::string_view file = entry->d_name;
        if (!file.ends_with(suffix)) continue;
        file.remove_suffix(suffix.size());
        if (is_plain_name(file)) names.emplace_back(file);
    }
    std::ranges::sort(names);
    return names;
}

Result<DeviceState> RuntimeDir::read_state(const std::string& name) const {
    const std::string file = name + ".json";
    const std::string source = path_ + "/" + file;
    const UniqueFd fd(
        ::openat(fd_.get(), file.c_str(), O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK));
    if (!fd) return fail_errno(errno, "{}", source);
    auto text = read_whole(fd.get(), source);
    if (!text) return std::unexpected(std::move(text).error());
    auto state = parse_state(*text, source);
    if (state && state->name != name) return fail(EINVAL, "{}: bad field 'name'", source);
    return state;
}

Status RuntimeDir::write_state(const DeviceState& state) const {
    const std::string file = state.name + ".json";
    const std::string draft = "." + file + ".new";
    const std::string text = to_file_text(state);  // may throw, so before there is a draft
    const UniqueFd fd(::openat(fd_.get(), draft.c_str(),
                               O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC | O_NOFOLLOW, 0644));
    if (!fd) return fail_errno(errno, "cannot write {}/{}", path_, draft);
    const Status written = write_whole(fd.get(), text);
    if (!written || ::renameat(fd_.get(), draft.c_str(), fd_.get(), file.c_str()) != 0) {
        const int number = written ? errno : written.error().number;
        ::unlinkat(fd_.get(), draft.c_str(), 0);
        return fail_errno(number, "cannot write {}/{}", path_, file);
    }
    return {};
}

void RuntimeDir::remove_files(NameLock lock) const {
    // The lock last, while it is held: a newcomer either waits for it or finds nothing.
    for (const char* suffix : {".json", ".sock", ".nbd", ".log", ".1.log", ".lock"}) {
        ::unlinkat(fd_.get(), (lock.name() + suffix).c_str(), 0);
    }
}

void RuntimeDir::remove_socket(const std::string& name) const {
    ::unlinkat(fd_.get(), (name + ".sock").c_str(), 0);
}

void RuntimeDir::remove_strays() const {
    const auto locked = names_with(".lock");
    if (!locked) return;
    for (const std::string& name : *locked) {
        auto lock = this->lock(name);
        // Looked at under the lock: a server that has one writes its state before it makes a
        // device.
        if (!lock) continue;
        const auto state = read_state(name);
        if (!state && state.error().number == ENOENT) remove_files(std::move(*lock));
    }
}

std::string RuntimeDir::socket_path(const std::string& name) const {
    return fmt::format("/proc/self/fd/{}/{}.sock", fd_.get(), name);
}

std::string RuntimeDir::older_log_path(const std::string& name) const {
    return fmt::format("/proc/self/fd/{}/{}.1.log", fd_.get(), name);
}

std::string RuntimeDir::log_path(const std::string& name) const {
    return fmt::format("/proc/self/fd/{}/{}.log", fd_.get(), name);
}

}  // namespace ringloop::control
