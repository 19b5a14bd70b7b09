// A state file with any content. What is taken for a state means the same after it was written and
// read again, can be handed to a new server, and holds no text that a system call would cut.
#include <algorithm>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "control/dispatching.h"
#include "control/state.h"

namespace ringloop::control {
namespace {

bool holds_zero(const std::string& text) { return text.find('\0') != std::string::npos; }

void check_recoverable(const DeviceState& state) {
    const DeviceOptions options = recover_options(state);
    ASSERT(is_plain_name(state.name));
    ASSERT(check_export_options(options.exported));
    ASSERT(check_charge(options.charge));
    ASSERT(check_lane_idle(options.lane_idle_s));
    ASSERT(!options.workers || check_workers(*options.workers));
    ASSERT(workers_of(state) >= state.queues);
    ASSERT(std::ranges::none_of(serve_arguments(options), holds_zero));
    if (state.nbd) ASSERT(std::ranges::none_of(state.nbd->uris, holds_zero));
}

void play(std::string_view text) {
    const auto state = parse_state(text, "x.json");
    if (!state) {
        ASSERT(!state.error().message.empty());
        return;
    }
    check_recoverable(*state);
    const auto again = parse_state(to_file_text(*state), "x.json");
    ASSERT(again);
    ASSERT(*again == *state);
}

}  // namespace
}  // namespace ringloop::control

extern "C" int LLVMFuzzerTestOneInput(const ringloop::u8* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const ringloop::u8* data, std::size_t size) {
    ringloop::control::play({reinterpret_cast<const char*>(data), size});
    return 0;
}
