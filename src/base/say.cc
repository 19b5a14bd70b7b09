#include "base/say.h"

#include <cstdio>

namespace ringloop {

// fmt::print throws where a write fails, and nobody catches that.
void say(std::string_view line) {
    static_cast<void>(std::fwrite(line.data(), 1, line.size(), stderr));
}

}  // namespace ringloop
