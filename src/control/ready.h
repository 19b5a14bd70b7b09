// The pipe on which a background server tells the `attach` that started it how it went: one line
// of JSON, the state of the device or {"error": "..."}.
#pragma once

#include <string_view>

#include "base/result.h"
#include "base/unique_fd.h"

namespace ringloop::control {

class ReadyPipe {
public:
    ReadyPipe() = default;  // in the foreground: nobody to tell
    // Takes a descriptor that was inherited under this number; makes it close-on-exec.
    static Result<ReadyPipe> adopt(int fd);

    // Whether the reader is gone, so that nobody will ever learn of the device.
    bool broken() const;
    // The line without its newline; the pipe is closed behind it. EPIPE when the reader is gone.
    Status tell(std::string_view line);

private:
    UniqueFd fd_;
};

}  // namespace ringloop::control
