// One session of an NBD client: bytes in, bytes out, no socket and no time. It says what
// doc/proto.md of the NBD project lets a client say, and believes nothing that it hears.
#pragma once

#include <optional>
#include <span>
#include <string>
#include <vector>

#include "abi/nbd.h"
#include "frontend/nbd/agreement.h"
#include "sim/port.h"

namespace ringloop::sim {

class NbdSession {
public:
    // How a client goes about it.
    struct Manner {
        bool handshake = true;  // otherwise as the kernel's driver: there was none
        nbd::ReplyStyle style = nbd::ReplyStyle::simple;
        bool export_name = false;  // instead of GO; not with extended replies
        bool no_zeroes = true;
        bool block_sizes = false;  // asks for them
        bool unknown_option = false;
        bool list = false;
        bool info = false;

        static Manner draw(Prng& prng);
    };
    struct Answer {
        Job* job = nullptr;
        i32 error = 0;
    };

    NbdSession(const Manner& manner, Prng& prng);

    // The handshake is over.
    bool ready() const { return state_ == State::replies; }
    void request(Job& job);
    void disconnect();
    void hear(std::span<const std::byte> bytes);

    // Bytes to say: whoever says them clears it.
    std::vector<std::byte> output;
    // Jobs that were answered since, taken by the owner.
    std::vector<Answer> answers;

    // Jobs without an answer, in the order of their requests.
    std::vector<Job*> outstanding() const;
    u64 in_flight() const { return flights_.size(); }
    // The first thing that no server may say; nothing is understood after it.
    const std::string& violation() const { return violation_; }

private:
    enum class State : u8 { greeting, options, export_name, replies };
    struct Flight {
        u64 cookie = 0;
        Job* job = nullptr;
        bool dont_fragment = false;
        std::vector<ByteRange> covered{};  // of the device, by chunks of a read
        i32 error = 0;
        bool error_known = false;
    };
    // A chunk whose bytes are all there.
    struct Chunk {
        u16 flags = 0;
        u16 type = 0;
        u64 cookie = 0;
        std::span<const std::byte> payload;
    };

    template <typename T>
    void put(const T& structure);
    template <typename T>
    std::optional<T> peek(u64 offset = 0) const;
    std::span<const std::byte> input() const { return std::span(input_).subspan(begin_); }

    bool step();
    bool greeting_step();
    bool option_step();
    bool export_name_step();
    bool simple_step();
    bool structured_step();
    bool extended_step();
    void option_next();
    void option_on_reply(u32 type, std::span<const std::byte> data);
    void info_on_reply(std::span<const std::byte> data);
    void chunk(const Chunk& chunk);
    void chunk_of_data(Flight& flight, const Chunk& chunk);
    void chunk_of_error(Flight& flight, const Chunk& chunk);
    void cover(Flight& flight, ByteRange range, const std::byte* data);
    void end(Flight& flight);
    Flight* flight_of(u64 cookie);
    i32 error_of(const Flight& flight, u32 number);
    bool violate(const char* what, const Flight* flight = nullptr);

    const Manner manner_;
    Prng& prng_;
    State state_ = State::greeting;
    std::vector<u32> options_;  // to be asked for, in their order
    std::size_t option_ = 0;
    bool export_known_ = false;
    bool blocks_known_ = false;
    std::vector<std::byte> input_;  // not understood yet, from begin_ on
    u64 begin_ = 0;
    std::vector<Flight> flights_;
    std::string violation_;
};

}  // namespace ringloop::sim
