// Text in columns of a terminal.
#pragma once

#include <string>
#include <string_view>

#include "base/int.h"

namespace ringloop::cli {

// As fit shows it, without a bound.
u32 columns_of(std::string_view text);

// Exactly `width` columns, cut with '~', filled with blanks. Control characters and bytes that are
// no UTF-8 become \xNN; what the terminal shows two columns wide counts as two, marks that it may
// not show are left out.
std::string fit(std::string_view text, u32 width);

}  // namespace ringloop::cli
