// The command line as a value. One verb, one structure; main.cc maps each to its function.
#pragma once

#include <expected>
#include <string>
#include <variant>
#include <vector>

#include "control/config_file.h"
#include "control/server.h"
#include "control/set.h"

namespace ringloop::cli {

// Exit codes of every verb.
inline constexpr int exit_done = 0;
inline constexpr int exit_failed = 1;  // with one line on stderr; ^C during attach too
inline constexpr int exit_usage = 2;

struct Attach {
    control::DeviceOptions options;
    bool preallocate = false;  // blocks for all of it first
    bool json = false;
};

struct Serve {
    control::ServeRequest request;
    std::string config_name;  // of a file that says the rest; empty: the request does
    std::string config_directory;
};

// What `up` and `down` have in common: devices that files describe.
struct Configured {
    std::vector<std::string> names;
    bool all = false;
    std::string directory;  // empty: control::config_directory decides
    bool json = false;
};

struct Up {
    Configured configured;
};

struct Down {
    Configured configured;
    bool force = false;
    u32 timeout_s = 10;
};

struct Detach {
    std::vector<std::string> targets;
    bool all = false;
    bool force = false;
    u32 timeout_s = 10;
    bool json = false;
};

struct List {
    bool lanes = false;  // of every device, instead of the devices
    bool json = false;
};

struct StatusOf {
    std::string target;
    bool json = false;
};

struct Resize {
    std::string target;
    bool json = false;
};

struct Set {
    std::string target;
    control::Change change;
    bool json = false;
};

struct Recover {
    std::vector<std::string> targets;
    bool all = false;
    bool json = false;
};

struct Upgrade {
    std::vector<std::string> targets;
    bool all = false;
    bool force = false;
    bool json = false;
};

// In the words of losetup(8), which it reads by itself: losetup_arguments.h.
struct Losetup {
    std::vector<std::string> arguments;
};

struct Doctor {
    bool json = false;
};

// To look at devices: what they do, rather than what they are.
struct Stats {
    std::string target;
    bool watch = false;
    double interval_s = 1;
    bool json = false;
};

struct Metrics {
    std::string target;
    bool all = false;
};

struct Log {
    std::string target;  // empty: all devices
    bool follow = false;
    bool json = false;
};

struct Top {
    double interval_s = 1;
    bool once = false;
};

struct Verify {
    std::string target;
    std::string against;  // another image or device; empty: it is only read
    bool json = false;
};

// What udev and systemd call; no --help names them.
struct UdevProperties {
    std::string device;  // "ublkb0"
};

struct SystemdGenerator {
    std::string folder;                // of units that systemd makes no others of
    std::vector<std::string> folders;  // of higher and lower priority; unused
};

using Command = std::variant<Attach, Serve, Detach, List, StatusOf, Resize, Set, Recover, Upgrade,
                             Losetup, Doctor, Stats, Metrics, Log, Top, Verify, Up, Down,
                             UdevProperties, SystemdGenerator>;

// The command, or the exit code when there is nothing left to do: help was printed (0), or a line
// that says what is wrong (1 for a bad value, 2 for bad usage).
std::expected<Command, int> parse_arguments(int count, const char* const* arguments);

// The options that a device has, as keys of a file: those of attach and serve without their dashes,
// and image.
std::vector<control::ConfigKey> config_keys();
// Words as they follow `attach`, less --json, checked as those are. Prints nothing.
Result<control::DeviceOptions> parse_device_options(const std::vector<std::string>& words);

}  // namespace ringloop::cli
