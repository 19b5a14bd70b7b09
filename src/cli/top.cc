#include <poll.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <ctime>
#include <map>
#include <nlohmann/json.hpp>

#include "cli/background.h"
#include "cli/output.h"
#include "cli/terminal.h"
#include "cli/top_screen.h"
#include "cli/verbs.h"
#include "control/detach.h"
#include "control/devices.h"
#include "control/signals.h"
#include "control/wait.h"
#include "control/watching.h"

namespace ringloop::cli {
namespace {

using control::Counters;
using control::Deadline;
using control::KnownDevice;
using control::RuntimeDir;

// Of all servers together: one that is stopped must not freeze the screen.
constexpr u64 answers_timeout_ms = 500;

// Looks at all devices, again and again.
class Sampler {
public:
    explicit Sampler(const RuntimeDir& directory) : directory_(directory) {}

    Result<std::vector<TopRow>> look();

private:
    TopRow row_of(const KnownDevice& device, const Result<std::string>& answer);

    const RuntimeDir& directory_;
    std::map<std::string, Counters> before_;
};

Result<std::vector<TopRow>> Sampler::look() {
    const auto known = control::known_devices(directory_);
    if (!known) return std::unexpected(known.error());
    std::vector<std::string> names;
    for (const KnownDevice& device : known->devices) names.push_back(device.state.name);
    const auto answers = control::ask_servers(directory_, names, R"({"verb":"counters"})",
                                              Deadline(answers_timeout_ms));
    std::vector<TopRow> rows;
    for (std::size_t i = 0; i < names.size(); ++i) {
        rows.push_back(row_of(known->devices[i], answers[i]));
    }
    std::erase_if(before_, [&](const auto& entry) {
        return std::ranges::find(names, entry.first) == names.end();
    });
    return rows;
}

TopRow Sampler::row_of(const KnownDevice& device, const Result<std::string>& answer) {
    const std::string& name = device.state.name;
    TopRow row{.name = name, .image = device.state.backing_file};
    if (!device.served || device.state.phase != control::Phase::live) {
        row.trouble = device.status_word();
        return row;
    }
    const auto object = answer ? control::parse_json(*answer) : std::nullopt;
    auto counters = object ? control::parse_counters(*object) : fail(EPROTO, "no answer");
    if (!counters) {
        row.trouble = answer ? "of another version" : "no answer";
        return row;
    }
    if (counters->poisoned) row.trouble = "poisoned";
    const auto before = before_.find(name);
    if (before != before_.end()) row.rates = rates_between(before->second, *counters);
    before_.insert_or_assign(name, std::move(*counters));
    return row;
}

std::string clock_text() {
    const std::time_t now = std::time(nullptr);
    std::tm parts{};
    ::localtime_r(&now, &parts);
    std::array<char, 16> text{};
    std::strftime(text.data(), text.size(), "%H:%M:%S", &parts);
    return text.data();
}

// False: quit.
bool press(char key, TopView& view) {
    switch (key) {
        case 'q':
        case 'Q': return false;
        case 's':
        case '>': view.sort = next_column(view.sort, 1); break;
        case '<': view.sort = next_column(view.sort, -1); break;
        case 'r': view.reverse = !view.reverse; break;
        case 'l': view.lanes = !view.lanes; break;
        case ' ': view.paused = !view.paused; break;
        default: break;
    }
    return true;
}

// Other keys send several bytes, of which no letter is meant.
bool press_all(std::string_view keys, TopView& view) {
    if (keys.starts_with('\x1b')) return true;
    return std::ranges::all_of(keys, [&](char key) { return press(key, view); });
}

class Screen {
public:
    Screen(const Top& command, Sampler& sampler, const control::Signals& signals,
           Terminal& terminal)
        : interval_s_(command.interval_s),
          sampler_(sampler),
          signals_(signals),
          terminal_(terminal) {}

    Status run();

private:
    Status look();
    Status draw() const;
    Result<bool> wait(const Deadline& deadline);

    const double interval_s_;
    Sampler& sampler_;
    const control::Signals& signals_;
    Terminal& terminal_;
    TopView view_;
    std::vector<TopRow> rows_;
    std::string looked_at_;  // the time
};

Status Screen::run() {
    for (;;) {
        TRY(look());
        const Deadline next(static_cast<u64>(interval_s_ * 1000));
        do {
            TRY(draw());
            const auto goes_on = wait(next);
            if (!goes_on) return std::unexpected(goes_on.error());
            if (!*goes_on) return {};
        } while (!next.passed());
    }
}

Status Screen::look() {
    if (view_.paused) return {};
    auto rows = sampler_.look();
    if (!rows) return std::unexpected(std::move(rows).error());
    rows_ = std::move(*rows);
    looked_at_ = clock_text();
    return {};
}

Status Screen::draw() const {
    const auto [width, height] = terminal_size();
    const std::string title = fmt::format("ringloop {}, {} device{}, every {:g} s", looked_at_,
                                          rows_.size(), rows_.size() == 1 ? "" : "s", interval_s_);
    return terminal_.show(top_screen(rows_, view_, title, {.width = width, .height = height}));
}

// Until there is something to draw. False: quit.
Result<bool> Screen::wait(const Deadline& deadline) {
    std::array<pollfd, 3> fds = {{{signals_.fd(), POLLIN, 0},
                                  {terminal_.event_fd(), POLLIN, 0},
                                  {terminal_.key_fd(), POLLIN, 0}}};
    if (::poll(fds.data(), fds.size(), deadline.poll_timeout_ms()) < 0 && errno != EINTR) {
        return fail_errno(errno, "cannot wait for the terminal");
    }
    if (fds[0].revents != 0) return false;
    if (fds[1].revents != 0) terminal_.attend_to_events();
    if (fds[2].revents == 0) return true;
    const std::string keys = terminal_.keys();
    return !keys.empty() && press_all(keys, view_);
}

// For a file, a pipe, or a terminal that cannot go back: one table after the other.
int print_tables(const Top& command, Sampler& sampler, const control::Signals& signals) {
    const u32 width = ::isatty(STDOUT_FILENO) == 1 ? terminal_size().width : 0;
    if (const auto first = sampler.look(); !first) return report(first.error());
    for (;;) {
        const auto woken = control::wait_beside(
            signals, UniqueFd(), Deadline(static_cast<u64>(command.interval_s * 1000)));
        if (!woken) return report(woken.error());
        if (*woken == control::Woken::signal) {
            return command.once ? report({EINTR, "interrupted"}) : exit_done;
        }
        const auto rows = sampler.look();
        if (!rows) return report(rows.error());
        std::string text = command.once ? "" : clock_text() + "\n";
        for (const std::string& line : top_table(*rows, {}, {.width = width, .height = 0})) {
            text += line + "\n";
        }
        if (command.once) text.pop_back();
        if (!print_line(text)) return exit_failed;
        if (command.once) return exit_done;
    }
}

}  // namespace

int run(const Top& command) {
    const auto directory = RuntimeDir::open();
    if (!directory) return report(directory.error());
    const auto signals = control::Signals::block();
    if (!signals) return report(signals.error());
    Sampler sampler(*directory);
    if (command.once || !can_fill_screen()) return print_tables(command, sampler, *signals);
    Status shown;
    {
        auto terminal = Terminal::open();
        if (!terminal) return report(terminal.error());
        shown = Screen(command, sampler, *signals, *terminal).run();
    }
    // Only now is there a place where it can be read.
    return shown ? exit_done : report(shown.error());
}

}  // namespace ringloop::cli
