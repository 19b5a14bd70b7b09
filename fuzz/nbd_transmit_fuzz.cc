// A client that sends anything in the NBD transmission phase. Four bytes choose what was negotiated
// and how the stream is cut; the rest are its requests. Every input is played at once and in
// pieces, which must come to the same; what is let through must be good to be carried out, and each
// request is answered, so that the encoder is driven too.
#include <array>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "frontend/nbd/extents.h"

namespace ringloop::nbd {
namespace {

namespace wire = abi::nbd;
using Event = RequestDecoder::Event;

constexpr std::array<u64, 8> sizes{
    0, 512, 1000001, u64{1} << 31, (u64{1} << 32) - 1, u64{1} << 32, u64{1} << 63, ~u64{0}};

Agreement chosen(std::string_view bytes) {
    const auto style = static_cast<u8>(bytes[0]);
    const auto shape = static_cast<u8>(bytes[1]);
    const auto flags = static_cast<u8>(bytes[2]);
    Agreement agreement;
    agreement.style =
        std::array{ReplyStyle::simple, ReplyStyle::structured, ReplyStyle::extended}[style % 3];
    agreement.size_bytes = sizes[shape % sizes.size()];
    agreement.block_bytes_min = std::array{1u, 512u, 4096u, 65536u}[shape / 8 % 4];
    agreement.payload_bytes_max = std::array{65536u, request_bytes_max}[shape / 32 % 2];
    u32 bits = wire::has_flags;
    if ((flags & 1) != 0) bits |= wire::read_only;
    if ((flags & 2) != 0) bits |= wire::send_flush | wire::send_trim | wire::send_cache;
    if ((flags & 4) != 0) bits |= wire::send_fua;
    if ((flags & 8) != 0) bits |= wire::send_write_zeroes;
    if ((flags & 24) == 24) bits |= wire::send_fast_zero;
    if (agreement.style != ReplyStyle::simple) {
        bits |= wire::send_df;
        agreement.block_status = (flags & 32) != 0;
    }
    if (agreement.style == ReplyStyle::extended && agreement.block_status && (flags & 64) != 0) {
        bits |= wire::block_status_payload;
    }
    agreement.flags = static_cast<u16>(bits);
    return agreement;
}

void check_accepted(const Agreement& agreement, const Command& command) {
    const bool has_payload = command.type == CommandType::write;
    const bool is_read_only = (agreement.flags & wire::read_only) != 0;
    ASSERT(command.type != CommandType::unknown && command.type != CommandType::disconnect);
    ASSERT(command.payload_bytes == (has_payload ? command.range.length : 0));
    ASSERT(command.range.fits(agreement.size_bytes));
    ASSERT(is_aligned(command.range.offset, agreement.block_bytes_min));
    ASSERT(is_aligned(command.range.length, agreement.block_bytes_min));
    ASSERT((command.range.length == 0) == (command.type == CommandType::flush));
    if (has_payload || command.type == CommandType::read) {
        ASSERT(command.range.length <= agreement.payload_bytes_max);
    }
    if (has_payload || command.type == CommandType::trim ||
        command.type == CommandType::write_zeroes) {
        ASSERT(!is_read_only);
    }
    if (command.type == CommandType::block_status) ASSERT(agreement.block_status);
}

// Extents of any lengths, drawn from the request itself.
std::span<const Extent> look_up(const Agreement& agreement, const Command& command,
                                std::span<Extent> storage) {
    ExtentFitter fitter(agreement, command, storage);
    u64 random = command.cookie ^ command.range.length;
    for (u32 i = 0; i < 64 && fitter.wants_more(); ++i) {
        random = random * 6364136223846793005 + 1442695040888963407;
        fitter.add({.length = random >> (random >> 58), .flags = static_cast<u32>(random % 4)});
    }
    const std::span<const Extent> extents = fitter.finish();
    u64 left = command.range.length;
    for (const Extent& extent : extents) {
        ASSERT(extent.length > 0 && extent.length <= left);
        ASSERT(is_aligned(extent.length, agreement.block_bytes_min));
        left -= extent.length;
    }
    ASSERT(!extents.empty() && extents.size() <= (command.req_one ? 1 : storage.size()));
    return extents;
}

void answer(const Agreement& agreement, const Command& command, OutputBuffer& output) {
    const ReplyEncoder encoder(agreement.style);
    std::array<Extent, 16> storage;
    switch (command.type) {
        case CommandType::read:
            if (agreement.style == ReplyStyle::simple || command.dont_fragment) {
                return encoder.data(command, command.range, ReplyEncoder::More::no, output);
            }
            return encoder.hole(command, command.range, ReplyEncoder::More::no, output);
        case CommandType::block_status:
            return encoder.block_status(command, look_up(agreement, command, storage), output);
        default: return encoder.success(command, output);
    }
}

// What happened, as bytes to compare, and the replies.
std::string play(const Agreement& agreement, std::string_view stream, std::size_t piece) {
    RequestDecoder decoder(agreement);
    std::string log;
    for (std::size_t at = 0; at < stream.size(); at += piece) {
        Bytes input = std::as_bytes(std::span(stream.substr(at, piece)));
        for (bool is_open = true; is_open;) {
            const RequestDecoder::Progress progress = decoder.consume(input);
            ASSERT(progress.consumed <= input.size());
            const Bytes consumed = input.first(progress.consumed);
            input = input.subspan(progress.consumed);
            std::array<std::byte, 1024> storage;
            OutputBuffer output(storage);
            switch (progress.event) {
                case Event::need_input:
                    ASSERT(input.empty());
                    is_open = false;
                    break;
                case Event::command:
                    check_accepted(agreement, decoder.command());
                    answer(agreement, decoder.command(), output);
                    break;
                case Event::refused:
                    ASSERT(decoder.refusal());
                    ReplyEncoder(agreement.style)
                        .error(decoder.command(), decoder.refusal().error,
                               decoder.refusal().message, output);
                    break;
                case Event::payload:
                    ASSERT(!consumed.empty());
                    log.append(reinterpret_cast<const char*>(consumed.data()), consumed.size());
                    break;
                case Event::disconnect: return log + "disconnect";
                case Event::close: ASSERT(!decoder.reason().empty()); return log + "close";
            }
            const Bytes reply = output.pending();
            log.append(reinterpret_cast<const char*>(reply.data()), reply.size());
        }
    }
    return log;
}

void play(std::string_view input) {
    if (input.size() < 4) return;
    const Agreement agreement = chosen(input);
    const std::size_t piece = static_cast<u8>(input[3]) % 64 + 1u;
    const std::string_view stream = input.substr(4);
    ASSERT(play(agreement, stream, stream.size() + 1) == play(agreement, stream, piece));
}

}  // namespace
}  // namespace ringloop::nbd

extern "C" int LLVMFuzzerTestOneInput(const ringloop::u8* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const ringloop::u8* data, std::size_t size) {
    ringloop::nbd::play({reinterpret_cast<const char*>(data), size});
    return 0;
}
