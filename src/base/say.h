// The line for the person who waits at standard error.
#pragma once

#include <string_view>

namespace ringloop {

// Writes the line as it is; whoever ends it with a newline gets one. What cannot be written
// (closed, a full disk) is lost: there is nobody else to tell, and the exit code says it too. Any
// thread.
void say(std::string_view line);

}  // namespace ringloop
