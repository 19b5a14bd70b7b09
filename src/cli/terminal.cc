#include "cli/terminal.h"

#include <fmt/format.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/signalfd.h>
#include <unistd.h>

#include <algorithm>
#include <array>
#include <charconv>
#include <cstdlib>
#include <cstring>
#include <utility>

namespace ringloop::cli {
namespace {

// The alternate screen, so that what stood there before comes back, without a cursor.
constexpr std::string_view enter_text = "\x1b[?1049h\x1b[?25l\x1b[2J";
constexpr std::string_view leave_text = "\x1b[?25h\x1b[?1049l";

Status write_all(std::string_view text) {
    while (!text.empty()) {
        const ssize_t length = ::write(STDOUT_FILENO, text.data(), text.size());
        if (length < 0 && errno == EINTR) continue;
        if (length < 0) return fail_errno(errno, "the terminal");
        text.remove_prefix(static_cast<std::size_t>(length));
    }
    return {};
}

u32 number_in(const char* variable) {
    const char* text = std::getenv(variable);
    u32 number = 0;
    if (text) std::from_chars(text, text + std::strlen(text), number);
    return number;
}

sigset_t terminal_signals() {
    sigset_t set;
    sigemptyset(&set);
    sigaddset(&set, SIGWINCH);
    sigaddset(&set, SIGTSTP);
    return set;
}

}  // namespace

TerminalSize terminal_size() {
    constexpr u32 most = 1000;
    winsize size{};
    const bool known = ::ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0;
    u32 width = known ? size.ws_col : 0;
    u32 height = known ? size.ws_row : 0;
    if (width == 0) width = number_in("COLUMNS");
    if (height == 0) height = number_in("LINES");
    const TerminalSize usual;
    return {.width = width == 0 ? usual.width : std::min(width, most),
            .height = height == 0 ? usual.height : std::min(height, most)};
}

bool can_fill_screen() {
    const char* kind = std::getenv("TERM");
    return ::isatty(STDOUT_FILENO) == 1 && kind && *kind && std::string_view(kind) != "dumb";
}

Result<Terminal> Terminal::open() {
    const sigset_t set = terminal_signals();
    if (::sigprocmask(SIG_BLOCK, &set, nullptr) != 0)
        return fail_errno(errno, "cannot block signals");
    UniqueFd events(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!events) return fail_errno(errno, "cannot wait for signals");
    Terminal terminal(std::move(events));
    terminal.enter();
    return terminal;
}

Terminal::Terminal(Terminal&& other) noexcept
    : events_(std::move(other.events_)),
      has_keys_(std::exchange(other.has_keys_, false)),
      before_(other.before_) {}

Terminal::~Terminal() {
    if (events_) leave();
}

void Terminal::enter() {
    has_keys_ = ::tcgetattr(STDIN_FILENO, &before_) == 0;
    if (has_keys_) {
        termios raw = before_;
        // ISIG stays: ^C is a signal, as everywhere.
        raw.c_lflag &= ~static_cast<tcflag_t>(ICANON | ECHO);
        raw.c_cc[VMIN] = 0;
        raw.c_cc[VTIME] = 0;
        ::tcsetattr(STDIN_FILENO, TCSADRAIN, &raw);
    }
    static_cast<void>(write_all(enter_text));  // show() will tell
}

void Terminal::leave() const {
    static_cast<void>(write_all(leave_text));
    if (has_keys_) ::tcsetattr(STDIN_FILENO, TCSADRAIN, &before_);
}

// Each line goes to its place, so none scrolls the screen and none has to be filled up.
Status Terminal::show(const std::vector<std::string>& lines) const {
    std::string text;
    std::size_t row = 1;
    for (const std::string& line : lines) text += fmt::format("\x1b[{};1H\x1b[2K{}", row++, line);
    if (row <= terminal_size().height) text += fmt::format("\x1b[{};1H\x1b[J", row);
    return write_all(text);
}

void Terminal::attend_to_events() {
    signalfd_siginfo info{};
    bool suspend = false;
    while (::read(events_.get(), &info, sizeof info) == sizeof info) {
        suspend = suspend || info.ssi_signo == SIGTSTP;
    }
    if (!suspend) return;
    leave();
    ::raise(SIGSTOP);  // goes on with SIGCONT, from the shell's fg
    enter();
}

std::string Terminal::keys() {
    std::array<char, 64> bytes{};
    const ssize_t length = ::read(STDIN_FILENO, bytes.data(), bytes.size());
    if (length > 0) return {bytes.data(), static_cast<std::size_t>(length)};
    return "";
}

}  // namespace ringloop::cli
