// ASSERT documents a mistake of our own and stays on in release: a server that has lost its
// invariants must stop before it acknowledges anything more. Bytes that a peer, a file or a user
// gave us are never asserted; they are refused with an Error.
#pragma once

namespace ringloop {

// Prints the broken expression and its place on stderr, then aborts. Async-signal-safe.
[[noreturn]] void assert_failed(const char* expression, const char* file, int line);

}  // namespace ringloop

#define ASSERT(expression)                                              \
    do {                                                                \
        if (!(expression)) [[unlikely]]                                 \
            ::ringloop::assert_failed(#expression, __FILE__, __LINE__); \
    } while (false)
