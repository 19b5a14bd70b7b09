// The directory in which servers and the command line find each other. For a device NAME:
//   NAME.json  its state             NAME.sock  its control socket
//   NAME.lock  locked by its server  NAME.log   its log (when it runs in the background)
//   NAME.nbd   where a device without a block device listens for NBD clients, unless told otherwise
//
// The lock is the truth about liveness: the system releases it when the server dies, whatever
// became of its pid. Everything is reached through one descriptor of the directory, because a
// server detaches its copies of the mounts and paths may change their meaning for it.
#pragma once

#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"
#include "control/state.h"

namespace ringloop::control {

// What decides where the directory is. Separate from the environment so that it can be tested.
struct RuntimeDirInputs {
    const char* ringloop_runtime_dir = nullptr;  // $RINGLOOP_RUNTIME_DIR
    const char* xdg_runtime_dir = nullptr;       // $XDG_RUNTIME_DIR
    bool root = false;
};
Result<std::string> choose_runtime_path(const RuntimeDirInputs& inputs);

// Holding it means being the only server of a name.
class NameLock {
public:
    const std::string& name() const { return name_; }
    int fd() const { return fd_.get(); }

private:
    friend class RuntimeDir;
    NameLock(std::string name, UniqueFd fd) : name_(std::move(name)), fd_(std::move(fd)) {}

    std::string name_;
    UniqueFd fd_;
};

class RuntimeDir {
public:
    // Creates it when it is missing: 0755 for root, 0700 for others.
    static Result<RuntimeDir> open();
    static Result<RuntimeDir> open_at(const std::string& path);

    int fd() const { return fd_.get(); }
    const std::string& path() const { return path_; }

    // EBUSY when a living process holds it.
    Result<NameLock> lock(const std::string& name) const;
    // One that another server holds, and gives to this process by a descriptor.
    Result<NameLock> adopt_lock(const std::string& name, UniqueFd fd) const;
    // PREFIX0, PREFIX1 ...: the first that nobody has, dead servers included.
    Result<NameLock> lock_first_free(const std::string& prefix) const;
    // Whether a living process holds the lock. Takes nothing, so it disturbs nobody.
    bool is_locked(const std::string& name) const;

    // A process that is killed leaves requests behind that its rings had given to the kernel: they
    // end, and write, when the disk lets them. The next server must not begin before, or an old
    // write could land on a newer one. The mark is a lock for the rings to hold (register_file):
    // it is released when the last of them has gone. EBUSY: one of a dead server is still there.
    Result<UniqueFd> request_mark(const NameLock& lock) const;
    bool has_requests(const std::string& name) const;

    // Names that have a state file, sorted.
    Result<std::vector<std::string>> names() const;
    // ENOENT when there is none. Any other content than a state is an error, never a crash.
    Result<DeviceState> read_state(const std::string& name) const;
    // Replaced as a whole: a reader sees the old one or the new one.
    Status write_state(const DeviceState& state) const;

    // All files of the name, the lock last.
    void remove_files(NameLock lock) const;
    void remove_socket(const std::string& name) const;
    // Files of names that have no state and no living server: of servers that died before they had
    // a device.
    void remove_strays() const;

    // Valid in this process only, and short enough for a socket address.
    std::string socket_path(const std::string& name) const;
    std::string log_path(const std::string& name) const;
    std::string older_log_path(const std::string& name) const;  // of what was full

private:
    Result<std::vector<std::string>> names_with(std::string_view suffix) const;

    RuntimeDir(std::string path, UniqueFd fd) : path_(std::move(path)), fd_(std::move(fd)) {}

    std::string path_;
    UniqueFd fd_;
};

}  // namespace ringloop::control
