#include "engine/request.h"

namespace ringloop::engine {

const char* name_of(Op op) {
    switch (op) {
        case Op::read: return "read";
        case Op::write: return "write";
        case Op::flush: return "flush";
        case Op::discard: return "discard";
        case Op::write_zeroes: return "write_zeroes";
        case Op::prefetch: return "prefetch";
    }
    return "unknown";
}

}  // namespace ringloop::engine
