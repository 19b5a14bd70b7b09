#include "frontend/nbd/transmit.h"

#include <algorithm>

namespace ringloop::nbd {

namespace wire = abi::nbd;

namespace {

// The only payload of a block status that asks for something: the one context that there is.
struct AllocationQuery {
    wire::BlockStatusPayload head;
    u32be context_id;
};
static_assert(sizeof(AllocationQuery) == 12);
static_assert(sizeof(AllocationQuery) <= sizeof(wire::ExtendedRequest), "both in one Gather");

CommandType type_of(u16 type) {
    switch (type) {
        case wire::command_read: return CommandType::read;
        case wire::command_write: return CommandType::write;
        case wire::command_disconnect: return CommandType::disconnect;
        case wire::command_flush: return CommandType::flush;
        case wire::command_trim: return CommandType::trim;
        case wire::command_cache: return CommandType::cache;
        case wire::command_write_zeroes: return CommandType::write_zeroes;
        case wire::command_block_status: return CommandType::block_status;
        default:  // whatever a client invents
            return CommandType::unknown;
    }
}

bool changes(CommandType type) {
    return type == CommandType::write || type == CommandType::trim ||
           type == CommandType::write_zeroes;
}

bool is_offered(const Agreement& agreement, CommandType type) {
    const auto has = [&](u16 flag) { return (agreement.flags & flag) != 0; };
    switch (type) {
        case CommandType::unknown: return false;
        case CommandType::read:
        case CommandType::write:
        case CommandType::disconnect: return true;
        case CommandType::flush: return has(wire::send_flush);
        case CommandType::trim: return has(wire::send_trim);
        case CommandType::cache: return has(wire::send_cache);
        case CommandType::write_zeroes: return has(wire::send_write_zeroes);
        case CommandType::block_status: return agreement.block_status;
    }
    ASSERT(!"a type of command");
    return false;
}

// "Command flags": each is good for the commands that document it, FUA for all.
u32 flags_allowed(const Agreement& agreement, CommandType type) {
    const auto if_offered = [&](u16 offer, u16 flag) -> u32 {
        return (agreement.flags & offer) != 0 ? flag : 0;
    };
    const u32 flags = if_offered(wire::send_fua, wire::flag_fua);
    switch (type) {
        case CommandType::read: return flags | if_offered(wire::send_df, wire::flag_df);
        case CommandType::write:
            return flags | (agreement.style == ReplyStyle::extended ? wire::flag_payload_len : 0u);
        case CommandType::write_zeroes:
            return flags | wire::flag_no_hole |
                   if_offered(wire::send_fast_zero, wire::flag_fast_zero);
        case CommandType::block_status:
            return flags | wire::flag_req_one |
                   if_offered(wire::block_status_payload, wire::flag_payload_len);
        case CommandType::unknown:
        case CommandType::disconnect:
        case CommandType::flush:
        case CommandType::trim:
        case CommandType::cache: return flags;
    }
    ASSERT(!"a type of command");
    return 0;
}

Refusal validate_range(const Agreement& agreement, const Command& command) {
    const bool carries_data =
        command.type == CommandType::read || command.type == CommandType::write;
    if (command.range.length == 0) return {wire::Error::einval, "a request of no bytes"};
    if (carries_data && command.range.length > agreement.payload_bytes_max) {
        return {command.dont_fragment ? wire::Error::eoverflow : wire::Error::einval,
                "more data than the advertised maximum"};
    }
    if (!command.range.fits(agreement.size_bytes)) {
        const bool is_for_space =
            command.type == CommandType::write || command.type == CommandType::write_zeroes;
        return {is_for_space ? wire::Error::enospc : wire::Error::einval,
                "the range lies past the end of the export"};
    }
    if (!is_aligned(command.range.offset | command.range.length, agreement.block_bytes_min)) {
        return {wire::Error::einval, "the range is not made of whole minimum blocks"};
    }
    return {};
}

}  // namespace

Command command_from(const RequestFields& fields) {
    const auto has = [&](u16 flag) { return (fields.flags & flag) != 0; };
    return {.type = type_of(fields.type),
            .fua = has(wire::flag_fua),
            .no_hole = has(wire::flag_no_hole),
            .dont_fragment = has(wire::flag_df),
            .req_one = has(wire::flag_req_one),
            .fast_zero = has(wire::flag_fast_zero),
            .cookie = fields.cookie,
            .wire_offset = fields.offset,
            .range = {.offset = fields.offset, .length = fields.length}};
}

Refusal validate(const Agreement& agreement, const RequestFields& fields, const Command& command) {
    if (command.type == CommandType::unknown) {
        return {wire::Error::einval, "this command is not known here"};
    }
    if (changes(command.type) && (agreement.flags & wire::read_only) != 0) {
        return {wire::Error::eperm, "the export is read-only"};
    }
    if (!is_offered(agreement, command.type)) {
        return {wire::Error::einval, "this command was not negotiated"};
    }
    if ((fields.flags & ~flags_allowed(agreement, command.type)) != 0) {
        return {wire::Error::einval, "a flag that this command does not have"};
    }
    if (command.type == CommandType::flush) {
        if (fields.offset == 0 && fields.length == 0) return {};
        return {wire::Error::einval, "a flush has no position and no length"};
    }
    return validate_range(agreement, command);
}

// ---- The stream ----

RequestDecoder::RequestDecoder(const Agreement& agreement) : agreement_(agreement) {
    ASSERT(agreement_.payload_bytes_max <= request_bytes_max);
    ASSERT(is_power_of_two(agreement_.block_bytes_min));
}

RequestDecoder::Progress RequestDecoder::consume(Bytes input) {
    Bytes rest = input;
    const auto stop = [&](Event event) {
        return Progress{.consumed = input.size() - rest.size(), .event = event};
    };
    const auto take = [&] {
        const std::size_t taken = std::min<std::size_t>(rest.size(), left_);
        rest = rest.subspan(taken);
        left_ -= static_cast<u32>(taken);
        return taken > 0;
    };
    for (;;) {
        switch (state_) {
            case State::header:
                if (!bytes_.fill(rest, header_bytes())) return stop(Event::need_input);
                header_on_input();
                break;
            case State::query:
                if (!bytes_.fill(rest, sizeof(AllocationQuery))) return stop(Event::need_input);
                query_on_input();
                break;
            case State::drain:
                take();
                if (left_ > 0) return stop(Event::need_input);
                state_ = State::refused;
                break;
            case State::refused: state_ = State::header; return stop(Event::refused);
            case State::accepted:
                left_ = command_.payload_bytes;
                state_ = left_ > 0 ? State::payload : State::header;
                return stop(Event::command);
            case State::payload:
                if (!take()) return stop(Event::need_input);
                if (left_ == 0) state_ = State::header;
                return stop(Event::payload);
            case State::disconnected: return stop(Event::disconnect);
            case State::closed: return stop(Event::close);
        }
    }
}

std::size_t RequestDecoder::header_bytes() const {
    return agreement_.style == ReplyStyle::extended ? sizeof(wire::ExtendedRequest)
                                                    : sizeof(wire::Request);
}

void RequestDecoder::header_on_input() {
    const bool extended = agreement_.style == ReplyStyle::extended;
    const u32 magic = read_as<u32be>(bytes_.bytes());
    fields_ = fields_on_input();
    bytes_.clear();
    if (magic != (extended ? wire::extended_request_magic : wire::request_magic)) {
        return close("a request without its magic number");
    }
    command_ = command_from(fields_);
    if (command_.type == CommandType::disconnect) {
        state_ = State::disconnected;
        return;
    }
    if (!extended) {
        return payload_start(command_.type == CommandType::write ? fields_.length : 0);
    }
    const bool has_payload = (fields_.flags & wire::flag_payload_len) != 0;
    // By the header no data follows, by the command it does. Whoever guesses wrong here takes the
    // data of a guest for requests.
    if (command_.type == CommandType::write && !has_payload) {
        return close("a write without NBD_CMD_FLAG_PAYLOAD_LEN");
    }
    payload_start(has_payload ? fields_.length : 0);
}

RequestFields RequestDecoder::fields_on_input() const {
    const auto fields = [](const auto& header) {
        return RequestFields{.flags = header.flags,
                             .type = header.type,
                             .cookie = header.cookie,
                             .offset = header.offset,
                             .length = header.length};
    };
    return agreement_.style == ReplyStyle::extended
               ? fields(read_as<wire::ExtendedRequest>(bytes_.bytes()))
               : fields(read_as<wire::Request>(bytes_.bytes()));
}

void RequestDecoder::payload_start(u64 payload) {
    if (payload > request_bytes_max) return close("a payload longer than 32 MiB");
    left_ = static_cast<u32>(payload);
    if (command_.type == CommandType::write) {
        command_.payload_bytes = left_;
        return judge();
    }
    if ((fields_.flags & wire::flag_payload_len) == 0) return judge();

    if (command_.type == CommandType::block_status && left_ == sizeof(AllocationQuery)) {
        command_.range.length = 0;  // not known before the payload
        state_ = State::query;
        return;
    }
    // Nothing else has a payload. A block status with any other length names no context, one that
    // does not exist, or one twice.
    refusal_ = {wire::Error::einval, "a payload that this command does not have"};
    state_ = State::drain;
}

void RequestDecoder::query_on_input() {
    const auto query = read_as<AllocationQuery>(bytes_.bytes());
    bytes_.clear();
    left_ = 0;
    command_.range.length = query.head.effect_length;
    judge();
    if (state_ == State::accepted && query.context_id != allocation_context_id) {
        refusal_ = {wire::Error::einval, "a metadata context that was not negotiated"};
        state_ = State::drain;
    }
}

void RequestDecoder::judge() {
    refusal_ = validate(agreement_, fields_, command_);
    state_ = refusal_ ? State::drain : State::accepted;
}

void RequestDecoder::payload_received(u32 bytes) {
    ASSERT(state_ == State::payload && bytes <= left_);
    left_ -= bytes;
    if (left_ == 0) state_ = State::header;
}

void RequestDecoder::hand_over(u64 done, std::vector<std::byte>& bytes) const {
    ASSERT(can_hand_over());
    if (state_ != State::header) put_header(done, bytes);
    if (state_ == State::payload) return;
    bytes.insert(bytes.end(), bytes_.bytes().begin(), bytes_.bytes().end());
}

void RequestDecoder::put_header(u64 done, std::vector<std::byte>& bytes) const {
    ASSERT(done <= fields_.length && (done == 0 || agreement_.style != ReplyStyle::extended));
    const auto put = [&](auto header, auto length) {
        header.flags = fields_.flags;
        header.type = fields_.type;
        header.cookie = fields_.cookie;
        header.offset = fields_.offset + done;
        header.length = length;
        const auto raw = std::as_bytes(std::span(&header, 1));
        bytes.insert(bytes.end(), raw.begin(), raw.end());
    };
    const u64 left = fields_.length - done;
    if (agreement_.style == ReplyStyle::extended) return put(wire::ExtendedRequest{}, left);
    put(wire::Request{}, static_cast<u32>(left));
}

void RequestDecoder::close(std::string_view reason) {
    reason_ = reason;
    state_ = State::closed;
}

}  // namespace ringloop::nbd
