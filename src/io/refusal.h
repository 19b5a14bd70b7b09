// Why the system gives no io_uring, and what to change: one text for both kinds of ring.
#pragma once

#include "base/result.h"

namespace ringloop::io {

// `number`: what io_uring_setup or io_uring_register answered, as a positive errno. Any thread.
Error uring_refusal(i32 number);

}  // namespace ringloop::io
