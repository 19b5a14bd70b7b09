// What a control command of ublk points at.
#pragma once

#include <array>
#include <span>
#include <string_view>

#include "abi/ublk.h"

namespace ringloop::ublk {

// First, where an ordinary user asks, the path of the device's node; then the structure that goes
// in or comes out. When the kernel never answers a command, it may still read or write here.
class Payload {
public:
    // An empty path: none. Together no more than 128 bytes.
    void fill(std::string_view path, std::span<const std::byte> structure);
    // The structure as the driver left it; of the size that it was filled with.
    void read(std::span<std::byte> structure) const;
    // Of a command with this payload, which must stay where it is until the answer.
    abi::ublk::ControlCommand header(u32 device_id, u64 data) const;

private:
    alignas(u64) std::array<std::byte, 128> bytes_{};
    u16 path_length_ = 0;
    u16 length_ = 0;  // with the path
};

}  // namespace ringloop::ublk
