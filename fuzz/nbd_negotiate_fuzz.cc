// A client that says anything in the NBD handshake. The first byte chooses the server, the second
// how the stream is cut; "=TLS" stands where the client starts TLS, if it was told to. Every input
// is played at once and in pieces, which must come to the same.
#include <array>
#include <string>
#include <string_view>
#include <vector>

#include "base/assert.h"
#include "frontend/nbd/negotiate.h"

namespace ringloop::nbd {
namespace {

namespace wire = abi::nbd;
using Event = Negotiation::Event;

constexpr std::string_view tls_mark = "=TLS";
constexpr std::string_view hidden_name = "hidden-disk";

const std::array<Export, 2> exports{
    {{.name = hidden_name,
      .description = "first",
      .size_bytes = u64{1} << 40,
      .flags = wire::send_flush | wire::send_write_zeroes | wire::send_fast_zero,
      .block_bytes_min = 512,
      .reports_allocation = true},
     {.name = "b", .description = "", .size_bytes = 1, .flags = wire::read_only}}};

struct Played {
    std::string output;
    std::vector<Event> events;
    bool is_encrypted = false;
};

class Player {
public:
    Player(const Negotiation::Options& options, std::size_t piece, bool is_shutting_down)
        : negotiation_(options), piece_(piece) {
        if (is_shutting_down) negotiation_.shutdown_start();
        receive({});
    }

    Played play(std::string_view stream) {
        while (true) {
            const std::size_t mark = stream.find(tls_mark);
            const std::string_view segment = stream.substr(0, mark);
            for (std::size_t at = 0; at < segment.size(); at += piece_) {
                receive(std::as_bytes(std::span(segment.substr(at, piece_))));
            }
            if (mark == std::string_view::npos) break;
            stream.remove_prefix(mark + tls_mark.size());
            if (last_ == Event::start_tls) {
                negotiation_.tls_started();
                played_.is_encrypted = true;
                last_ = Event::need_input;
            }
        }
        return played_;
    }

private:
    void receive(Bytes input) {
        for (;;) {
            const Negotiation::Progress progress = negotiation_.consume(input, output_);
            ASSERT(progress.consumed <= input.size());
            input = input.subspan(progress.consumed);
            const Bytes bytes = output_.pending();
            played_.output.append(reinterpret_cast<const char*>(bytes.data()), bytes.size());
            output_.take(bytes.size());
            if (progress.event == Event::need_room) continue;
            last_ = progress.event;
            if (progress.event == Event::need_input) {
                ASSERT(input.empty());
                return;
            }
            if (played_.events.empty() || played_.events.back() != progress.event) {
                played_.events.push_back(progress.event);
            }
            if (progress.event == Event::transmission) check(negotiation_.agreement());
            if (progress.event == Event::close) ASSERT(!negotiation_.reason().empty());
            return;
        }
    }

    static void check(const Agreement& agreement) {
        ASSERT(agreement.export_index < exports.size());
        ASSERT(agreement.size_bytes == exports[agreement.export_index].size_bytes);
        ASSERT((agreement.flags & wire::has_flags) != 0);
        const bool has_chunks = agreement.style != ReplyStyle::simple;
        ASSERT(((agreement.flags & wire::send_df) != 0) == has_chunks);
        ASSERT(has_chunks || !agreement.block_status);
    }

    Negotiation negotiation_;
    std::size_t piece_;
    std::vector<std::byte> storage_ = std::vector<std::byte>(negotiation_output_bytes_min);
    OutputBuffer output_{storage_};
    Event last_ = Event::need_input;
    Played played_;
};

void play(std::string_view input) {
    if (input.size() < 2) return;
    const auto choice = static_cast<u8>(input[0]);
    const std::size_t piece = static_cast<u8>(input[1]) % 64 + 1u;
    const std::string_view stream = input.substr(2);
    const TlsMode tls = std::array{TlsMode::off, TlsMode::offered, TlsMode::required}[choice % 3];
    const bool is_shutting_down = choice >= 192;
    const Negotiation::Options options{.exports = exports, .tls = tls};

    const Played whole = Player(options, stream.size() + 1, is_shutting_down).play(stream);
    const Played pieces = Player(options, piece, is_shutting_down).play(stream);
    ASSERT(whole.output == pieces.output);
    ASSERT(whole.events == pieces.events);
    // Nothing that a client says comes back, so it was us who told.
    if (tls == TlsMode::required && !whole.is_encrypted) {
        ASSERT(whole.output.find(hidden_name) == std::string::npos);
        ASSERT(whole.events.empty() || whole.events.back() != Event::transmission);
    }
}

}  // namespace
}  // namespace ringloop::nbd

extern "C" int LLVMFuzzerTestOneInput(const ringloop::u8* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const ringloop::u8* data, std::size_t size) {
    ringloop::nbd::play({reinterpret_cast<const char*>(data), size});
    return 0;
}
