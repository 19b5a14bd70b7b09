// How the codec takes bytes in and puts bytes out: three small tools, each with one bound that it
// checks in one place.
#pragma once

#include <algorithm>
#include <array>
#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>
#include <type_traits>

#include "base/assert.h"
#include "base/int.h"

namespace ringloop::nbd {

using Bytes = std::span<const std::byte>;

// A wire structure from the front of `bytes`, which holds all of it.
template <typename T>
T read_as(Bytes bytes) {
    static_assert(std::is_trivially_copyable_v<T> && alignof(T) == 1, "a structure of src/abi");
    ASSERT(bytes.size() >= sizeof(T));
    T value;
    std::memcpy(&value, bytes.data(), sizeof(T));
    return value;
}

// What waits to be sent, in memory of the owner. The writer asks for room() first; the owner sends
// pending() and reports each part by take(). Bytes never move while they wait, so that a send may
// be under way while more is put behind them; the memory is used anew when all of it was taken.
// One thread.
class OutputBuffer {
public:
    explicit OutputBuffer(std::span<std::byte> storage) : storage_(storage) {}

    std::size_t capacity() const { return storage_.size(); }
    std::size_t room() const { return storage_.size() - end_; }
    Bytes pending() const { return storage_.subspan(begin_, end_ - begin_); }

    void take(std::size_t bytes) {
        ASSERT(bytes <= end_ - begin_);
        begin_ += bytes;
        if (begin_ == end_) begin_ = end_ = 0;
    }

    void put(Bytes bytes) {
        ASSERT(bytes.size() <= room());
        if (bytes.empty()) return;
        std::memcpy(storage_.data() + end_, bytes.data(), bytes.size());
        end_ += bytes.size();
    }
    void put(std::string_view text) { put(std::as_bytes(std::span(text))); }
    template <typename T>
        requires(std::is_trivially_copyable_v<T> && alignof(T) == 1 && std::is_class_v<T> &&
                 !std::is_convertible_v<T, std::string_view> && !std::is_convertible_v<T, Bytes>)
    void put(const T& wire_structure) {
        put(std::as_bytes(std::span(&wire_structure, 1)));
    }

private:
    std::span<std::byte> storage_;
    std::size_t begin_ = 0;
    std::size_t end_ = 0;
};

// Collects something of a known length from pieces as they come. Not initialized beyond size_.
template <std::size_t capacity>
class Gather {
public:
    // Takes what is missing to `needed` bytes from the front of `input`; true when all are there.
    bool fill(Bytes& input, std::size_t needed) {
        ASSERT(needed <= capacity && size_ <= needed);
        const std::size_t taken = std::min(input.size(), needed - size_);
        if (taken > 0) std::memcpy(bytes_.data() + size_, input.data(), taken);
        size_ += taken;
        input = input.subspan(taken);
        return size_ == needed;
    }
    Bytes bytes() const { return Bytes(bytes_).first(size_); }
    void clear() { size_ = 0; }

private:
    std::size_t size_ = 0;
    std::array<std::byte, capacity> bytes_;
};

// Reads a peer's data front to back. Each call says whether there was enough; after the first that
// says no, the rest is not to be trusted.
class Reader {
public:
    explicit Reader(Bytes bytes) : rest_(bytes) {}

    template <typename T>
    bool take(T& value) {
        if (rest_.size() < sizeof(T)) return false;
        value = read_as<T>(rest_);
        rest_ = rest_.subspan(sizeof(T));
        return true;
    }
    // Compares before it adds or allocates: a length of 2^32-1 is only a length that is too long
    // (CVE-2022-26495).
    bool take_text(u32 length, std::string_view& text) {
        if (length > rest_.size()) return false;
        text = {reinterpret_cast<const char*>(rest_.data()), length};
        rest_ = rest_.subspan(length);
        return true;
    }
    std::size_t left() const { return rest_.size(); }

private:
    Bytes rest_;
};

}  // namespace ringloop::nbd
