#include "frontend/ublk/payload.h"

#include <algorithm>

#include "base/assert.h"

namespace ringloop::ublk {

void Payload::fill(std::string_view path, std::span<const std::byte> structure) {
    // With a zero that ends it, and as many more as keep the structure aligned.
    const u64 path_length = path.empty() ? 0 : align_up(path.size() + 1, sizeof(u64));
    ASSERT(path_length + structure.size() <= bytes_.size());
    path_length_ = static_cast<u16>(path_length);
    length_ = static_cast<u16>(path_length + structure.size());
    bytes_.fill(std::byte{0});
    std::ranges::copy(std::as_bytes(std::span(path)), bytes_.begin());
    std::ranges::copy(structure, bytes_.begin() + path_length_);
}

void Payload::read(std::span<std::byte> structure) const {
    ASSERT(path_length_ + structure.size() == length_);
    std::ranges::copy(std::span(bytes_).subspan(path_length_, structure.size()), structure.begin());
}

abi::ublk::ControlCommand Payload::header(u32 device_id, u64 data) const {
    return {.device_id = device_id,
            .length = length_,
            .address = length_ == 0 ? 0 : reinterpret_cast<u64>(bytes_.data()),
            .data = data,
            .path_length = path_length_};
}

}  // namespace ringloop::ublk
