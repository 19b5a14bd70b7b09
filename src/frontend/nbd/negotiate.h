// The server's side of the fixed newstyle handshake: bytes in, bytes and events out, no I/O.
// doc/proto.md of the NBD project, sections "Handshake", "TLS support" and "Option types".
//
//     greeting -> client flags -> [option header -> its data -> answer]* -> transmission
//                                        ^                        `-> TLS handshake of the owner
//                                        `------ tls_started() <-----'
//
// It stops at any byte and goes on from there; how the input is cut changes neither its output nor
// its events. Nothing that a client sends is asserted, logged or repeated to it: an unwelcome
// option is answered with an error and a constant text, and a breach after which nothing can be
// answered ends the connection.
#pragma once

#include <optional>
#include <span>
#include <string_view>

#include "abi/nbd.h"
#include "frontend/nbd/agreement.h"
#include "frontend/nbd/bytes.h"
#include "frontend/nbd/limits.h"

namespace ringloop::nbd {

// One thing that clients can choose. The owner keeps it, and its texts, as long as a Negotiation.
struct Export {
    std::string_view name;         // UTF-8 without NUL, up to name_bytes_max
    std::string_view description;  // the same, up to description_bytes_max; empty: none
    u64 size_bytes = 0;
    // Transmission flags (abi/nbd.h) of what the device can do. has_flags, send_df and
    // block_status_payload are added here, as they depend on what the client negotiated.
    u16 flags = 0;
    u32 block_bytes_min = 1;                    // power of two, up to block_bytes_max
    u32 block_bytes_preferred = 4096;           // power of two, at least 512 and the minimum
    u32 payload_bytes_max = request_bytes_max;  // 64 KiB to request_bytes_max, not below preferred
    bool reports_allocation = false;            // base:allocation can be selected
};

enum class TlsMode : u8 {
    off,       // NOTLS: STARTTLS is refused by policy
    offered,   // SELECTIVETLS without an export that insists on it
    required,  // FORCEDTLS: nothing is told before TLS is up
};

class Negotiation {
public:
    struct Options {
        std::span<const Export> exports;  // the first is what the empty name means, if none has it
        TlsMode tls = TlsMode::off;
    };

    enum class Event : u8 {
        need_input,    // all input was consumed; send what is in the output, bring more
        need_room,     // send the output, then call again with the input that was not consumed
        start_tls,     // send the output, then do the handshake of TLS, then call tls_started()
        transmission,  // agreement() holds; send the output; input behind `consumed` is requests
        close,         // send the output, then close; reason() says why, for the log
    };
    struct Progress {
        std::size_t consumed = 0;  // bytes from the front of `input`
        Event event = Event::need_input;
    };

    // ASSERTs that the exports keep the limits above.
    explicit Negotiation(const Options& options);

    // Call it with empty input first: the server speaks first. `output` has a capacity of at least
    // negotiation_output_bytes_min. After start_tls, all input is consumed and thrown away until
    // tls_started(): whatever came in plaintext behind STARTTLS was put there by somebody between
    // us and the client (CVE-2021-3716), and the owner throws away what it holds itself. After
    // transmission and close, nothing is consumed and the event stays.
    Progress consume(Bytes input, OutputBuffer& output);

    // The channel is encrypted. All that was negotiated before is forgotten.
    void tls_started();

    // From now on each option but ABORT is answered with NBD_REP_ERR_SHUTDOWN.
    void shutdown_start() { shutting_down_ = true; }

    // Valid after Event::transmission.
    const Agreement& agreement() const { return agreement_; }
    // One constant line; empty before Event::close.
    std::string_view reason() const { return reason_; }

private:
    enum class State : u8 {
        greeting,
        client_flags,
        option_header,
        option_data,
        answer,
        tls,
        transmission,
        closed
    };

    // What the client is still to be told about the option at hand, in this order.
    struct Answer {
        std::size_t exports_next = 0;  // NBD_REP_SERVER for these
        std::size_t exports_end = 0;
        u32 infos = 0;  // NBD_REP_INFO for these: bit n is information type n
        std::size_t info_export = 0;
        std::optional<u32> context_id;   // NBD_REP_META_CONTEXT for base:allocation
        u32 type = abi::nbd::reply_ack;  // the last reply
        std::string_view message;        // of an error
        bool plain = false;              // EXPORT_NAME: instead of all that, size and flags
        State next = State::option_header;
    };

    struct MetaQuery {
        std::string_view name;
        u32 queries = 0;
        bool selects_allocation = false;
        bool has_wildcard = false;
    };

    void greet(OutputBuffer& output);
    void client_flags_on_input();
    void option_header_on_input();
    void option_on_input();
    bool tls_is_missing() const;

    void export_name();
    void list();
    void start_tls();
    void info_or_go();
    void structured_reply();
    void meta_context();
    bool parse_meta_query(MetaQuery& query) const;
    void extended_headers();

    bool answer_continue(OutputBuffer& output);
    void put_reply(u32 type, std::size_t length, OutputBuffer& output) const;
    void put_export(const Export& item, OutputBuffer& output) const;
    void put_info(u32 type, OutputBuffer& output) const;
    void put_last(OutputBuffer& output) const;

    void acknowledge() { answer_ = {}; }
    void refuse(u32 type, std::string_view message);
    void close(std::string_view reason);
    void agree(std::size_t export_index, bool block_sizes_known);
    std::optional<std::size_t> find_export(std::string_view name) const;
    u16 transmission_flags(std::size_t export_index) const;
    Bytes data() const { return data_.bytes(); }

    // Constant after construction.
    const std::span<const Export> exports_;
    const TlsMode tls_;

    State state_ = State::greeting;
    bool shutting_down_ = false;
    bool encrypted_ = false;
    bool fixed_newstyle_ = false;  // the client's flags
    bool no_zeroes_ = false;
    u32 options_ = 0;
    std::string_view reason_;

    // Negotiated; forgotten at STARTTLS.
    ReplyStyle style_ = ReplyStyle::simple;
    std::optional<std::size_t> allocation_export_;  // base:allocation is selected for this one

    // The option at hand.
    u32 option_ = 0;
    u32 option_length_ = 0;
    Answer answer_;
    Gather<sizeof(abi::nbd::OptionHeader)> header_;
    Gather<option_bytes_max> data_;

    Agreement agreement_;
};

}  // namespace ringloop::nbd
