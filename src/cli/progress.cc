#include "cli/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cstdio>

#include "base/size.h"
#include "cli/terminal.h"
#include "cli/text_width.h"

namespace ringloop::cli {
namespace {

constexpr std::chrono::milliseconds redraw_interval{200};
constexpr double rate_known_after_s = 0.5;

std::string duration_text(double seconds) {
    const auto whole = static_cast<u64>(seconds + 0.5);
    if (whole < 60) return fmt::format("{} s", whole);
    if (whole < 3600) return fmt::format("{}:{:02} min", whole / 60, whole % 60);
    return fmt::format("{}:{:02} h", whole / 3600, whole % 3600 / 60);
}

}  // namespace

std::string progress_text(std::string_view work, u64 done_bytes, u64 total_bytes,
                          double elapsed_s) {
    const double done = static_cast<double>(done_bytes);
    const double total = static_cast<double>(std::max<u64>(total_bytes, 1));
    std::string text = fmt::format("{}: {:.0f} %, {} of {}", work, 100 * done / total,
                                   format_size(done_bytes), format_size(total_bytes));
    if (elapsed_s < rate_known_after_s || done_bytes == 0) return text;
    const double per_s = done / elapsed_s;
    return text + fmt::format(", {}/s, {} left", format_size(static_cast<u64>(per_s)),
                              duration_text((total - std::min(done, total)) / per_s));
}

Progress::Progress(std::string work, u64 total_bytes)
    : work_(std::move(work)),
      total_bytes_(total_bytes),
      on_terminal_(::isatty(STDERR_FILENO) == 1),
      started_(Clock::now()),
      drawn_at_(started_) {}

void Progress::advance(u64 done_bytes) {
    const auto now = Clock::now();
    if (!on_terminal_ || now - drawn_at_ < redraw_interval) return;
    drawn_at_ = now;
    drawn_ = true;
    const double elapsed_s = std::chrono::duration<double>(now - started_).count();
    const std::string text = progress_text(work_, done_bytes, total_bytes_, elapsed_s);
    // One column is left: some terminals go to the next line when the last one is written.
    const u32 width = std::max(terminal_size().width, 2U) - 1;
    fmt::print(stderr, "\r{}\x1b[K", fit(text, std::min(columns_of(text), width)));
}

void Progress::clear() {
    if (drawn_) fmt::print(stderr, "\r\x1b[K");
    drawn_ = false;
}

}  // namespace ringloop::cli
