// What libraries throw, as a Status: of all of it, lack of memory and of threads are what a healthy
// host may see. Below this layer nothing is destroyed on the way of an exception, so whoever was
// caught gives up what he was about; a mutex that is held there is let go by nobody.
#pragma once

#include <cerrno>
#include <exception>
#include <new>
#include <system_error>

#include "base/result.h"

namespace ringloop::control {

inline constexpr const char* out_of_memory_text = "out of memory";  // short: needs none to be said

// `step()`, a Status.
template <typename Step>
Status caught(const Step& step) {
    try {
        return step();
    } catch (const std::bad_alloc&) {
        return fail(ENOMEM, "{}", out_of_memory_text);
    } catch (const std::system_error& error) {
        // pthread_create(3) knows one error for all that a thread may lack.
        if (error.code() == std::errc::resource_unavailable_try_again) {
            return fail(EAGAIN, "no thread can be started: free memory, or raise ulimit -u");
        }
        return fail(error.code().value(), "{}", error.what());
    } catch (const std::exception& error) {
        return fail(EIO, "{}", error.what());
    }
}

}  // namespace ringloop::control
