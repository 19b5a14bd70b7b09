// What becomes of a device when its image does not carry out what its users want.
#pragma once

#include "base/int.h"

namespace ringloop::engine {

enum class OnError : u8 {
    report,  // whoever asked is told, and everything goes on
    stop,    // the first change that fails is the last: all later ones are refused
    pause,   // a write that finds no room waits until there is some; other errors are reported
};

}  // namespace ringloop::engine
