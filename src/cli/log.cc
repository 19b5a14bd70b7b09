#include <poll.h>
#include <sys/inotify.h>

#include <algorithm>
#include <array>
#include <memory>
#include <nlohmann/json.hpp>
#include <tuple>

#include "cli/background.h"
#include "cli/output.h"
#include "cli/verbs.h"
#include "control/devices.h"
#include "control/log_reader.h"
#include "control/watching.h"

namespace ringloop::cli {
namespace {

using control::LogLine;
using control::LogReader;
using control::RuntimeDir;
using nlohmann::json;

// One device's log, and the server that writes it.
struct Source {
    LogReader reader;
    control::DeviceState state;
    UniqueFd process;  // empty while nobody serves the device
    bool served = false;
    bool over = false;  // the device is gone, and so is its log
};

struct Entry {
    const Source* source = nullptr;
    LogLine line;
    std::string order;       // its time, or that of the line before it
    std::size_t number = 0;  // among lines of the same time
};

class Logs {
public:
    Logs(const Log& command, const RuntimeDir& directory)
        : command_(command), directory_(directory) {}

    Status find();
    // What is new of all of them, by time.
    bool print_new();
    int follow();
    // Those that keep no log.
    std::vector<Error> missing() const;

private:
    void add(control::DeviceState state);
    void look_at(Source& source);
    bool print(const Entry& entry) const;

    const Log& command_;
    const RuntimeDir& directory_;
    std::vector<std::unique_ptr<Source>> sources_;
};

Status Logs::find() {
    if (!command_.target.empty()) {
        auto device = control::find_device(directory_, command_.target);
        if (!device) return std::unexpected(device.error());
        add(std::move(device->state));
        return {};
    }
    auto known = control::known_devices(directory_);
    if (!known) return std::unexpected(known.error());
    for (control::KnownDevice& device : known->devices) {
        const auto same = [&](const auto& source) {
            return !source->over && source->state.name == device.state.name;
        };
        if (std::ranges::none_of(sources_, same)) add(std::move(device.state));
    }
    return {};
}

void Logs::add(control::DeviceState state) {
    UniqueFd process = control::process_of(directory_, state);
    LogReader reader(directory_, state.name);
    const bool served = static_cast<bool>(process);
    sources_.push_back(std::make_unique<Source>(
        Source{std::move(reader), std::move(state), std::move(process), served}));
}

bool Logs::print(const Entry& entry) const {
    const auto& [time, level, text] = entry.line;
    const std::string& name = entry.source->state.name;
    if (command_.json) {
        json object = {{"name", name}, {"text", text}};
        if (!time.empty()) object["time"] = time;
        if (!level.empty()) object["level"] = level;
        return print_line(control::dump_json(object));
    }
    std::string line = command_.target.empty() ? name + "  " : "";
    if (!time.empty()) line += time + " " + level + " ";
    return print_line(one_line(line + text));
}

bool Logs::print_new() {
    std::vector<Entry> entries;
    for (const auto& source : sources_) {
        std::string time;
        for (LogLine& line : source->reader.next()) {
            if (!line.time.empty()) time = line.time;
            entries.push_back({source.get(), std::move(line), time, entries.size()});
        }
    }
    std::ranges::sort(entries, {},
                      [](const Entry& entry) { return std::tie(entry.order, entry.number); });
    return std::ranges::all_of(entries, [this](const Entry& entry) { return print(entry); });
}

// After the end of its server: what comes now, another one or nothing?
void Logs::look_at(Source& source) {
    if (source.process) {
        pollfd ended{source.process.get(), POLLIN, 0};
        if (::poll(&ended, 1, 0) != 1) return;
        source.process.reset();
    }
    auto state = directory_.read_state(source.state.name);
    if (!state) {
        source.over = state.error().number == ENOENT;
        return;
    }
    const bool died = source.served;
    source.process = control::process_of(directory_, *state);
    source.served = static_cast<bool>(source.process);
    if (died && !source.served) {
        print_warning(control::end_of(directory_, source.state).message);
    }
    source.state = std::move(*state);
}

std::vector<Error> Logs::missing() const {
    std::vector<Error> errors;
    for (const auto& source : sources_) {
        if (source->reader.found()) continue;
        errors.push_back({ENOENT, fmt::format("{}: keeps no log: its server runs in the foreground "
                                              "and writes it to its own standard error",
                                              source->state.device)});
    }
    return errors;
}

int Logs::follow() {
    auto signals = control::Signals::block();
    if (!signals) return report(signals.error());
    const UniqueFd changes(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK));
    constexpr u32 events =
        IN_MODIFY | IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_CLOSE_WRITE;
    if (!changes || ::inotify_add_watch(changes.get(), directory_.path().c_str(), events) < 0) {
        return report({errno, fmt::format("{}: cannot be watched: {}", directory_.path(),
                                          cause_and_way_out(errno))});
    }
    for (;;) {
        // First looked, then read: what an ended server wrote last is there by then.
        for (const auto& source : sources_) look_at(*source);
        if (!print_new()) return exit_failed;
        std::erase_if(sources_, [](const auto& source) { return source->over; });
        if (command_.target.empty()) {
            const Status found = find();
            if (!found) return report(found.error());
        } else if (sources_.empty()) {
            return exit_done;
        }
        std::vector<pollfd> fds = {{signals->fd(), POLLIN, 0}, {changes.get(), POLLIN, 0}};
        for (const auto& source : sources_) fds.push_back({source->process.get(), POLLIN, 0});
        if (::poll(fds.data(), fds.size(), -1) < 0 && errno != EINTR) {
            return report(
                {errno, fmt::format("cannot wait for the log: {}", cause_and_way_out(errno))});
        }
        if (fds[0].revents != 0) return exit_done;
        // Which file changed does not matter: all are looked at, and that is cheap.
        std::array<char, 4096> forgotten;
        while (::read(changes.get(), forgotten.data(), forgotten.size()) > 0) continue;
    }
}

}  // namespace

int run(const Log& command) {
    const auto directory = RuntimeDir::open();
    if (!directory) return report(directory.error());
    Logs logs(command, *directory);
    const Status found = logs.find();
    if (!found) return report(found.error());
    if (!logs.print_new()) return exit_failed;
    for (const Error& error : logs.missing()) {
        if (!command.target.empty()) return report(error);
        print_warning(error.message);
    }
    return command.follow ? logs.follow() : exit_done;
}

}  // namespace ringloop::cli
