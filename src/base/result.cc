#include "base/result.h"

#include <system_error>

namespace ringloop {

std::string errno_text(i32 number) { return std::generic_category().message(number); }

}  // namespace ringloop
