// The terminal of a program that fills the screen, by the escapes that every one of them knows.
#pragma once

#include <termios.h>

#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"
#include "base/unique_fd.h"

namespace ringloop::cli {

struct TerminalSize {
    u32 width = 80;
    u32 height = 24;
};
// Of the terminal on standard output, by what it says or, where it says nothing, $COLUMNS, $LINES.
TerminalSize terminal_size();

// Whether the standard output is a terminal that knows how to go to a place (TERM is not "dumb").
bool can_fill_screen();

// From open() to its end the screen is ours and keys come one by one; whatever way the end comes,
// the terminal is as it was. After Signals::block.
class Terminal {
public:
    static Result<Terminal> open();
    Terminal(Terminal&& other) noexcept;
    Terminal& operator=(Terminal&&) = delete;
    ~Terminal();

    // Shows the lines, of which none is wider than the terminal, and nothing else.
    Status show(const std::vector<std::string>& lines) const;

    // Readable when the terminal has another size, or the user wants to suspend us (^Z).
    int event_fd() const { return events_.get(); }
    // Suspends us if that is what came, and returns when we go on.
    void attend_to_events();

    // -1: there is nobody who could press one.
    int key_fd() const { return has_keys_ ? 0 : -1; }
    // "" at the end of input, after which key_fd is -1.
    std::string keys();

private:
    explicit Terminal(UniqueFd events) : events_(std::move(events)) {}
    void enter();
    void leave() const;

    UniqueFd events_;  // signalfd; empty when moved from
    bool has_keys_ = false;
    termios before_{};
};

}  // namespace ringloop::cli
