#include "base/assert.h"

#include <unistd.h>

#include <cstdio>
#include <cstdlib>

namespace ringloop {

void assert_failed(const char* expression, const char* file, int line) {
    char text[512];
    const int length = std::snprintf(text, sizeof text, "ringloop: broken invariant at %s:%d: %s\n",
                                     file, line, expression);
    if (length > 0) {
        const auto size = static_cast<std::size_t>(length);
        // The result is of no use: there is nowhere left to report a failed report.
        [[maybe_unused]] const ssize_t written =
            ::write(STDERR_FILENO, text, size < sizeof text ? size : sizeof text - 1);
    }
    std::abort();
}

}  // namespace ringloop
