#include "cli/terminal.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <pty.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <cstdio>
#include <functional>
#include <iostream>
#include <stdexcept>

namespace ringloop::cli {
namespace {

// Runs `work` in a process whose input and output are a terminal of 40 columns and 10 lines.
class TerminalTest : public testing::Test {
protected:
    TerminalTest() {
        int primary = -1;
        int secondary = -1;
        const winsize size{.ws_row = 10, .ws_col = 40, .ws_xpixel = 0, .ws_ypixel = 0};
        EXPECT_EQ(::openpty(&primary, &secondary, nullptr, nullptr, &size), 0);
        primary_ = UniqueFd(primary);
        secondary_ = UniqueFd(secondary);
    }

    // What was written to the terminal.
    std::string run(const std::function<void()>& work) {
        // What is still in a buffer would be written by both.
        std::cout.flush();
        std::fflush(nullptr);
        const pid_t child = ::fork();
        if (child == 0) {
            ::dup2(secondary_.get(), STDIN_FILENO);
            ::dup2(secondary_.get(), STDOUT_FILENO);
            try {
                work();
            } catch (const std::exception&) {
                ::_exit(7);
            }
            ::_exit(0);
        }
        int status = 0;
        EXPECT_EQ(::waitpid(child, &status, 0), child);
        code_ = WEXITSTATUS(status);
        std::string text;
        pollfd readable{primary_.get(), POLLIN, 0};
        while (::poll(&readable, 1, 0) == 1) {
            std::array<char, 4096> part{};
            const ssize_t length = ::read(primary_.get(), part.data(), part.size());
            if (length <= 0) break;
            text.append(part.data(), static_cast<std::size_t>(length));
        }
        return text;
    }

    bool is_raw() const {
        termios modes{};
        EXPECT_EQ(::tcgetattr(secondary_.get(), &modes), 0);
        return (modes.c_lflag & (ICANON | ECHO)) == 0;
    }

    UniqueFd primary_;
    UniqueFd secondary_;
    int code_ = -1;
};

constexpr std::string_view left = "\x1b[?25h\x1b[?1049l";

TEST_F(TerminalTest, is_given_back_after_an_exception) {
    const std::string text = run([] {
        const auto terminal = Terminal::open();
        if (!terminal || !terminal->show({"a table"})) return;
        throw std::runtime_error("no memory");
    });
    EXPECT_EQ(code_, 7);
    EXPECT_TRUE(text.starts_with("\x1b[?1049h")) << text;
    EXPECT_NE(text.find("a table"), std::string::npos);
    EXPECT_TRUE(text.ends_with(left)) << text;
    EXPECT_FALSE(is_raw());
}

TEST_F(TerminalTest, gives_keys_one_by_one_and_is_as_large_as_it_is) {
    const std::string text = run([this] {
        auto terminal = Terminal::open();
        if (!terminal || !is_raw()) return;
        const auto [width, height] = terminal_size();
        // No return is pressed; it is there at once.
        if (::write(primary_.get(), "s", 1) != 1) return;
        pollfd pressed{terminal->key_fd(), POLLIN, 0};
        if (::poll(&pressed, 1, 10'000) != 1) return;
        const Status shown =
            terminal->show({fmt::format("{}x{} {}", width, height, terminal->keys())});
        if (!shown) throw std::runtime_error(shown.error().message);
    });
    EXPECT_EQ(code_, 0);
    EXPECT_NE(text.find("40x10 s"), std::string::npos) << text;
    EXPECT_TRUE(text.ends_with(left)) << text;
}

}  // namespace
}  // namespace ringloop::cli
