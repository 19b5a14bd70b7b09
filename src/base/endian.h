// Integers in the byte order of a wire. They have alignment 1, so that a structure made of them
// lies in memory exactly as it travels, and no padding can leak what was there before.
#pragma once

#include <array>
#include <bit>
#include <concepts>
#include <cstddef>
#include <type_traits>

#include "base/int.h"

namespace ringloop {

// Converts from and to T without a cast: it is a T that is stored in another order.
template <std::unsigned_integral T, std::endian order>
class Ordered {
public:
    constexpr Ordered() = default;
    constexpr Ordered(T value) { *this = value; }  // NOLINT(google-explicit-constructor)

    constexpr Ordered& operator=(T value) {
        for (std::size_t i = 0; i < sizeof(T); ++i) {
            bytes_[i] = static_cast<u8>(u64{value} >> shift_bits(i));
        }
        return *this;
    }

    constexpr operator T() const {  // NOLINT(google-explicit-constructor)
        u64 value = 0;
        for (std::size_t i = 0; i < sizeof(T); ++i) value |= u64{bytes_[i]} << shift_bits(i);
        return static_cast<T>(value);
    }

private:
    static constexpr std::size_t shift_bits(std::size_t index) {
        return 8 * (order == std::endian::big ? sizeof(T) - 1 - index : index);
    }

    std::array<u8, sizeof(T)> bytes_{};
};

using u16be = Ordered<u16, std::endian::big>;
using u32be = Ordered<u32, std::endian::big>;
using u64be = Ordered<u64, std::endian::big>;
using u16le = Ordered<u16, std::endian::little>;
using u32le = Ordered<u32, std::endian::little>;
using u64le = Ordered<u64, std::endian::little>;

static_assert(sizeof(u16be) == 2 && alignof(u16be) == 1);
static_assert(sizeof(u32be) == 4 && alignof(u32be) == 1);
static_assert(sizeof(u64be) == 8 && alignof(u64be) == 1);
static_assert(std::is_trivially_copyable_v<u64be> && std::is_trivially_copyable_v<u64le>);

}  // namespace ringloop
