// Errors of the control path: a value, or an errno with one line that names the object, the cause
// and the way out.
#pragma once

#include <fmt/format.h>

#include <expected>
#include <string>
#include <utility>

#include "base/int.h"

namespace ringloop {

struct Error {
    i32 number = 0;       // errno that caused it; 0 where none did (a bad option, for instance).
    std::string message;  // One line without a full stop or a newline at its end.
};

template <typename T>
using Result = std::expected<T, Error>;
using Status = Result<void>;

// fail(ENOENT, "{}: no such image", path)
template <typename... Args>
std::unexpected<Error> fail(i32 number, fmt::format_string<Args...> text, Args&&... args) {
    return std::unexpected(Error{number, fmt::format(text, std::forward<Args>(args)...)});
}

// The same with ": <strerror>" behind it, for system calls whose cause is the errno itself, and
// with the way out of that errno, where it has one of its own.
template <typename... Args>
std::unexpected<Error> fail_errno(i32 number, fmt::format_string<Args...> text, Args&&... args);

// "No such file or directory". Any thread.
std::string errno_text(i32 number);

// The same and, where this errno has one whatever the call was, the way out: "Too many open files;
// raise ulimit -n". Any thread.
std::string cause_and_way_out(i32 number);

template <typename... Args>
std::unexpected<Error> fail_errno(i32 number, fmt::format_string<Args...> text, Args&&... args) {
    return std::unexpected(Error{
        number, fmt::format(text, std::forward<Args>(args)...) + ": " + cause_and_way_out(number)});
}

}  // namespace ringloop

// Returns the error of a Status or Result from the enclosing function.
#define TRY(expression)                                                         \
    do {                                                                        \
        auto try_result = (expression);                                         \
        if (!try_result) return std::unexpected(std::move(try_result).error()); \
    } while (false)
