// The one source of chance in a simulated run: the same seed gives the same numbers on every
// machine, which the distributions of the standard library do not promise.
#pragma once

#include <array>

#include "base/assert.h"
#include "base/int.h"

namespace ringloop::sim {

// xoshiro256** (Blackman and Vigna, 2018), seeded by splitmix64 as its authors advise.
class Prng {
public:
    explicit Prng(u64 seed) {
        for (u64& word : state_) word = splitmix(seed);
    }

    u64 next() {
        const u64 result = rotate(state_[1] * 5, 7) * 9;
        const u64 shifted = state_[1] << 17;
        state_[2] ^= state_[0];
        state_[3] ^= state_[1];
        state_[1] ^= state_[2];
        state_[0] ^= state_[3];
        state_[2] ^= shifted;
        state_[3] = rotate(state_[3], 45);
        return result;
    }
    // 0 to bound - 1; the bias of the remainder is below 2^-40 for what we draw.
    u64 below(u64 bound) {
        ASSERT(bound > 0);
        return next() % bound;
    }
    // Both ends included.
    u64 between(u64 low, u64 high) { return low + below(high - low + 1); }
    // In a million; 0 draws nothing, so that a fault that is switched off changes no other draw.
    bool chance(u32 per_million) { return per_million > 0 && next() % 1'000'000 < per_million; }
    // Many short, few long: between `low` and `high`, each doubling as likely as the next.
    u64 skewed(u64 low, u64 high) {
        u64 doublings = 0;
        while ((low << (doublings + 1)) <= high) ++doublings;
        const u64 base = low << below(doublings + 1);
        const u64 top = base * 2 - 1 < high ? base * 2 - 1 : high;
        return between(base, top);
    }

    static u64 splitmix(u64& state) {
        state += 0x9e3779b97f4a7c15;
        u64 mixed = state;
        mixed = (mixed ^ (mixed >> 30)) * 0xbf58476d1ce4e5b9;
        mixed = (mixed ^ (mixed >> 27)) * 0x94d049bb133111eb;
        return mixed ^ (mixed >> 31);
    }

private:
    static u64 rotate(u64 value, u32 by) { return (value << by) | (value >> (64 - by)); }

    std::array<u64, 4> state_{};
};

}  // namespace ringloop::sim
