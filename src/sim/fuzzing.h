// What the fuzzers of fuzz/ share.
#pragma once

#include <string_view>
#include <vector>

#include "base/int.h"

namespace ringloop::sim {

// An input as a script: numbers taken from its front, lowest byte first. Behind its end there are
// zeroes, so that a script may stop anywhere.
class Script {
public:
    explicit Script(std::string_view bytes) : bytes_(bytes) {}

    bool ended() const { return bytes_.empty(); }

    template <typename Number>
    Number take() {
        u64 number = 0;
        for (u32 shift = 0; shift < 8 * sizeof(Number) && !bytes_.empty(); shift += 8) {
            number |= u64{static_cast<u8>(bytes_.front())} << shift;
            bytes_.remove_prefix(1);
        }
        return static_cast<Number>(number);
    }

private:
    std::string_view bytes_;
};

// For code that prints or logs what it refuses, which nobody wants to see a thousand times a
// second: called with the arguments of the fuzzer before it reads them. What the fuzzing engine and
// the sanitizers say is still seen, and everything with -close_fd_mask=0.
inline void be_quiet(int* count, char*** arguments) {
    static char option[] = "-close_fd_mask=3";
    static std::vector<char*> extended;
    extended.assign(*arguments, *arguments + *count);
    // In front of the others, so that what a person gives counts.
    extended.insert(extended.begin() + 1, option);
    extended.push_back(nullptr);
    *arguments = extended.data();
    ++*count;
}

}  // namespace ringloop::sim
