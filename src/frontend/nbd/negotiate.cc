#include "frontend/nbd/negotiate.h"

#include <array>
#include <bit>

namespace ringloop::nbd {

namespace wire = abi::nbd;

namespace {

constexpr std::string_view allocation_context = "base:allocation";
constexpr std::string_view base_wildcard = "base:";
constexpr u32 infos_known = 1u << wire::info_export | 1u << wire::info_name |
                            1u << wire::info_description | 1u << wire::info_block_size;

void check(const Export& item) {
    constexpr u16 ours = wire::send_df | wire::block_status_payload | wire::send_resize;
    ASSERT(item.name.size() <= name_bytes_max);
    ASSERT(item.description.size() <= description_bytes_max);
    ASSERT((item.flags & ours) == 0);
    ASSERT((item.flags & wire::send_write_zeroes) != 0 || (item.flags & wire::send_fast_zero) == 0);
    ASSERT(is_power_of_two(item.block_bytes_min) && item.block_bytes_min <= block_bytes_max);
    ASSERT(is_power_of_two(item.block_bytes_preferred));
    ASSERT(item.block_bytes_preferred >= preferred_block_bytes_min);
    ASSERT(item.block_bytes_preferred >= item.block_bytes_min);
    ASSERT(item.payload_bytes_max >= item.block_bytes_preferred);
    ASSERT(item.payload_bytes_max >= unfragmented_read_bytes_min);
    ASSERT(item.payload_bytes_max <= request_bytes_max);
}

}  // namespace

Negotiation::Negotiation(const Options& options) : exports_(options.exports), tls_(options.tls) {
    ASSERT(exports_.size() <= exports_max);
    for (const Export& item : exports_) check(item);
}

Negotiation::Progress Negotiation::consume(Bytes input, OutputBuffer& output) {
    ASSERT(output.capacity() >= negotiation_output_bytes_min);
    Bytes rest = input;
    const auto stop = [&](Event event) {
        return Progress{.consumed = input.size() - rest.size(), .event = event};
    };
    for (;;) {
        switch (state_) {
            case State::greeting:
                if (output.room() < negotiation_output_bytes_min) return stop(Event::need_room);
                greet(output);
                break;
            case State::client_flags:
                if (!header_.fill(rest, sizeof(wire::ClientFlags))) return stop(Event::need_input);
                client_flags_on_input();
                break;
            case State::option_header:
                if (!header_.fill(rest, sizeof(wire::OptionHeader))) return stop(Event::need_input);
                option_header_on_input();
                break;
            case State::option_data:
                if (!data_.fill(rest, option_length_)) return stop(Event::need_input);
                option_on_input();
                break;
            case State::answer:
                if (!answer_continue(output)) return stop(Event::need_room);
                break;
            case State::tls: rest = {}; return stop(Event::start_tls);
            case State::transmission: return stop(Event::transmission);
            case State::closed: return stop(Event::close);
        }
    }
}

void Negotiation::greet(OutputBuffer& output) {
    output.put(wire::Greeting{.flags = wire::handshake_fixed_newstyle | wire::handshake_no_zeroes});
    state_ = State::client_flags;
}

void Negotiation::client_flags_on_input() {
    const u32 flags = read_as<wire::ClientFlags>(header_.bytes()).flags;
    header_.clear();
    // "Client flags": the server MUST drop the connection for an unknown one.
    if ((flags & ~u32{wire::handshake_fixed_newstyle | wire::handshake_no_zeroes}) != 0) {
        return close("client flags that this server did not offer");
    }
    fixed_newstyle_ = (flags & wire::handshake_fixed_newstyle) != 0;
    no_zeroes_ = (flags & wire::handshake_no_zeroes) != 0;
    state_ = State::option_header;
}

void Negotiation::option_header_on_input() {
    const auto header = read_as<wire::OptionHeader>(header_.bytes());
    header_.clear();
    if (header.magic != wire::option_magic) return close("an option without its magic number");
    if (++options_ > options_max) return close("too many options in one session");
    option_ = header.option;
    option_length_ = header.length;
    if (option_length_ > option_bytes_max) return close("an option longer than 64 KiB");
    // The only option of nonfixed newstyle, where a refusal could not be understood.
    if (!fixed_newstyle_ && option_ != wire::option_export_name) {
        return close("an option of fixed newstyle from a client that did not set its flag");
    }
    data_.clear();
    state_ = State::option_data;
}

bool Negotiation::tls_is_missing() const { return tls_ == TlsMode::required && !encrypted_; }

void Negotiation::option_on_input() {
    state_ = State::answer;
    acknowledge();
    if (option_ == wire::option_abort) {
        answer_.next = State::closed;
        reason_ = "the client ended the negotiation";
        return;
    }
    if (shutting_down_) return refuse(wire::reply_error_shutdown, "the server is shutting down");
    if (tls_is_missing() && option_ != wire::option_starttls) {
        return refuse(wire::reply_error_tls_required, "this server requires TLS");
    }
    switch (option_) {
        case wire::option_export_name: return export_name();
        case wire::option_list: return list();
        case wire::option_starttls: return start_tls();
        case wire::option_info:
        case wire::option_go: return info_or_go();
        case wire::option_structured_reply: return structured_reply();
        case wire::option_list_meta_context:
        case wire::option_set_meta_context: return meta_context();
        case wire::option_extended_headers: return extended_headers();
        default: return refuse(wire::reply_error_unsupported, "this option is not known here");
    }
}

// ---- The options, in the order of their numbers ----

void Negotiation::export_name() {
    if (style_ == ReplyStyle::extended) return close("EXPORT_NAME after EXTENDED_HEADERS");
    std::string_view name;
    Reader(data()).take_text(option_length_, name);
    const std::optional<std::size_t> found = find_export(name);
    if (!found) return close("EXPORT_NAME of an export that does not exist");
    agree(*found, false);
    answer_.plain = true;
    answer_.next = State::transmission;
}

void Negotiation::list() {
    if (option_length_ != 0) return refuse(wire::reply_error_invalid, "LIST takes no data");
    answer_.exports_end = exports_.size();
}

void Negotiation::start_tls() {
    if (option_length_ != 0) return refuse(wire::reply_error_invalid, "STARTTLS takes no data");
    if (encrypted_) return refuse(wire::reply_error_invalid, "TLS is in use already");
    if (tls_ == TlsMode::off) return refuse(wire::reply_error_policy, "TLS is not offered here");
    answer_.next = State::tls;
}

void Negotiation::info_or_go() {
    Reader reader(data());
    u32be name_length;
    std::string_view name;
    u16be count;
    if (!reader.take(name_length) || !reader.take_text(name_length, name) || !reader.take(count) ||
        reader.left() != sizeof(u16be) * count) {
        return refuse(wire::reply_error_invalid, "the lengths in this option do not add up");
    }
    if (name.size() > name_bytes_max) {
        return refuse(wire::reply_error_invalid, "the name of an export has up to 4096 bytes");
    }
    const std::optional<std::size_t> found = find_export(name);
    if (!found) return refuse(wire::reply_error_unknown, "no such export");

    u32 infos = 1u << wire::info_export;
    for (u16be type; reader.take(type);) {
        if (type < 32) infos |= 1u << type;
    }
    infos &= infos_known;
    if (exports_[*found].description.empty()) infos &= ~(1u << wire::info_description);
    answer_.infos = infos;
    answer_.info_export = *found;
    if (option_ == wire::option_info) return;
    agree(*found, (infos & 1u << wire::info_block_size) != 0);
    answer_.next = State::transmission;
}

void Negotiation::structured_reply() {
    if (option_length_ != 0) {
        return refuse(wire::reply_error_invalid, "STRUCTURED_REPLY takes no data");
    }
    if (style_ == ReplyStyle::extended) {
        return refuse(wire::reply_error_extended_headers_required,
                      "extended headers are in use already");
    }
    style_ = ReplyStyle::structured;
}

void Negotiation::meta_context() {
    const bool set = option_ == wire::option_set_meta_context;
    // Also when this fails: "replaces all previously-set metadata contexts".
    if (set) allocation_export_.reset();
    MetaQuery query;
    if (!parse_meta_query(query)) {
        return refuse(wire::reply_error_invalid, "the lengths in this option do not add up");
    }
    if (set && style_ == ReplyStyle::simple) {
        return refuse(wire::reply_error_invalid,
                      "negotiate structured replies or extended headers first");
    }
    const std::optional<std::size_t> found = find_export(query.name);
    if (!found) return refuse(wire::reply_error_unknown, "no such export");
    if (!exports_[*found].reports_allocation) return;

    if (set) {
        if (!query.selects_allocation) return;
        allocation_export_ = *found;
        answer_.context_id = allocation_context_id;
    } else if (query.queries == 0 || query.selects_allocation || query.has_wildcard) {
        answer_.context_id = 0;  // reserved in a list
    }
}

// Queries of namespaces that we do not know are to be ignored, not refused.
bool Negotiation::parse_meta_query(MetaQuery& query) const {
    Reader reader(data());
    u32be name_length;
    u32be queries;
    if (!reader.take(name_length) || name_length > name_bytes_max) return false;
    if (!reader.take_text(name_length, query.name) || !reader.take(queries)) return false;
    query.queries = queries;
    // Each query has at least its length, so the data ends long before a count of 2^32-1 does.
    for (u32 i = 0; i < query.queries; ++i) {
        u32be length;
        std::string_view text;
        if (!reader.take(length) || length > name_bytes_max) return false;
        if (!reader.take_text(length, text)) return false;
        query.selects_allocation |= text == allocation_context;
        query.has_wildcard |= text == base_wildcard;
    }
    return reader.left() == 0;
}

void Negotiation::extended_headers() {
    if (option_length_ != 0) {
        return refuse(wire::reply_error_invalid, "EXTENDED_HEADERS takes no data");
    }
    style_ = ReplyStyle::extended;
}

// ---- The answer ----

// One reply at a time, each of which fits into negotiation_output_bytes_min; false: no room.
bool Negotiation::answer_continue(OutputBuffer& output) {
    while (state_ == State::answer) {
        if (output.room() < negotiation_output_bytes_min) return false;
        if (answer_.exports_next < answer_.exports_end) {
            put_export(exports_[answer_.exports_next++], output);
        } else if (answer_.infos != 0) {
            put_info(static_cast<u32>(std::countr_zero(answer_.infos)), output);
            answer_.infos &= answer_.infos - 1;
        } else if (answer_.context_id) {
            put_reply(wire::reply_meta_context, sizeof(u32be) + allocation_context.size(), output);
            output.put(u32be{*answer_.context_id});
            output.put(allocation_context);
            answer_.context_id.reset();
        } else {
            put_last(output);
            state_ = answer_.next;
        }
    }
    return true;
}

void Negotiation::put_reply(u32 type, std::size_t length, OutputBuffer& output) const {
    output.put(
        wire::OptionReply{.option = option_, .type = type, .length = static_cast<u32>(length)});
}

void Negotiation::put_export(const Export& item, OutputBuffer& output) const {
    const std::size_t length = sizeof(u32be) + item.name.size() + item.description.size();
    put_reply(wire::reply_server, length, output);
    output.put(u32be{static_cast<u32>(item.name.size())});
    output.put(item.name);
    output.put(item.description);
}

void Negotiation::put_info(u32 type, OutputBuffer& output) const {
    const Export& item = exports_[answer_.info_export];
    const auto put_text = [&](std::string_view text) {
        put_reply(wire::reply_info, sizeof(u16be) + text.size(), output);
        output.put(u16be{static_cast<u16>(type)});
        output.put(text);
    };
    switch (type) {
        case wire::info_name: return put_text(item.name);
        case wire::info_description: return put_text(item.description);
        case wire::info_block_size:
            put_reply(wire::reply_info, sizeof(wire::InfoBlockSize), output);
            return output.put(wire::InfoBlockSize{.minimum = item.block_bytes_min,
                                                  .preferred = item.block_bytes_preferred,
                                                  .payload_maximum = item.payload_bytes_max});
        default:
            ASSERT(type == wire::info_export);  // infos_known names no other
            put_reply(wire::reply_info, sizeof(wire::InfoExport), output);
            return output.put(wire::InfoExport{.size = item.size_bytes,
                                               .flags = transmission_flags(answer_.info_export)});
    }
}

void Negotiation::put_last(OutputBuffer& output) const {
    if (!answer_.plain) {
        put_reply(answer_.type, answer_.message.size(), output);
        return output.put(answer_.message);
    }
    output.put(wire::ExportNameReply{.size = agreement_.size_bytes, .flags = agreement_.flags});
    static constexpr std::array<std::byte, wire::export_name_zeroes_bytes> zeroes{};
    if (!no_zeroes_) output.put(Bytes(zeroes));
}

void Negotiation::refuse(u32 type, std::string_view message) {
    // It has no error reply: "the server MUST terminate the session".
    if (option_ == wire::option_export_name) return close(message);
    answer_ = {.type = type, .message = message};
}

void Negotiation::close(std::string_view reason) {
    reason_ = reason;
    state_ = State::closed;
}

// ---- What was agreed ----

void Negotiation::tls_started() {
    ASSERT(state_ == State::tls);
    encrypted_ = true;
    style_ = ReplyStyle::simple;
    allocation_export_.reset();
    header_.clear();
    data_.clear();
    state_ = State::option_header;
}

std::optional<std::size_t> Negotiation::find_export(std::string_view name) const {
    for (std::size_t i = 0; i < exports_.size(); ++i) {
        if (exports_[i].name == name) return i;
    }
    if (name.empty() && !exports_.empty()) return 0;
    return std::nullopt;
}

void Negotiation::agree(std::size_t export_index, bool block_sizes_known) {
    const Export& item = exports_[export_index];
    agreement_ = {.export_index = export_index,
                  .style = style_,
                  .flags = transmission_flags(export_index),
                  .size_bytes = item.size_bytes,
                  .block_bytes_min = block_sizes_known ? item.block_bytes_min : 1,
                  .payload_bytes_max = item.payload_bytes_max,
                  .block_status = allocation_export_ == export_index};
}

u16 Negotiation::transmission_flags(std::size_t export_index) const {
    u32 flags = exports_[export_index].flags | wire::has_flags;
    if (style_ != ReplyStyle::simple) flags |= wire::send_df;
    if (style_ == ReplyStyle::extended && allocation_export_ == export_index) {
        flags |= wire::block_status_payload;
    }
    return static_cast<u16>(flags);
}

}  // namespace ringloop::nbd
