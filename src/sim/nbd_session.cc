#include "sim/nbd_session.h"

#include <algorithm>
#include <cstring>

#include "base/assert.h"

namespace ringloop::sim {

namespace wire = abi::nbd;
using nbd::ReplyStyle;

namespace {

constexpr u32 unknown_option = 4711;
constexpr u64 payload_bytes_max = nbd::request_bytes_max + 64;

u16 command_of(engine::Op op) {
    switch (op) {
        case engine::Op::read: return wire::command_read;
        case engine::Op::write: return wire::command_write;
        case engine::Op::flush: return wire::command_flush;
        case engine::Op::discard: return wire::command_trim;
        case engine::Op::write_zeroes: return wire::command_write_zeroes;
        case engine::Op::prefetch: return wire::command_cache;
    }
    ASSERT(!"an operation");
    return wire::command_flush;
}

template <typename T>
T read_from(std::span<const std::byte> bytes) {
    ASSERT(bytes.size() >= sizeof(T));
    T structure;
    std::memcpy(&structure, bytes.data(), sizeof structure);
    return structure;
}

}  // namespace

NbdSession::Manner NbdSession::Manner::draw(Prng& prng) {
    constexpr ReplyStyle styles[] = {ReplyStyle::simple, ReplyStyle::structured,
                                     ReplyStyle::structured, ReplyStyle::extended};
    Manner manner;
    manner.handshake = prng.below(4) != 0;
    if (!manner.handshake) return manner;
    manner.style = styles[prng.below(4)];
    manner.export_name = manner.style != ReplyStyle::extended && prng.below(3) == 0;
    manner.no_zeroes = prng.below(2) == 0;
    manner.block_sizes = prng.below(2) == 0;
    manner.unknown_option = prng.below(4) == 0;
    manner.list = prng.below(4) == 0;
    manner.info = prng.below(4) == 0;
    return manner;
}

NbdSession::NbdSession(const Manner& manner, Prng& prng) : manner_(manner), prng_(prng) {
    if (!manner.handshake) {
        ASSERT(manner.style == ReplyStyle::simple);
        state_ = State::replies;
        return;
    }
    if (manner.unknown_option) options_.push_back(unknown_option);
    if (manner.list) options_.push_back(wire::option_list);
    if (manner.style == ReplyStyle::structured) options_.push_back(wire::option_structured_reply);
    if (manner.style == ReplyStyle::extended) options_.push_back(wire::option_extended_headers);
    if (manner.info) options_.push_back(wire::option_info);
    options_.push_back(manner.export_name ? wire::option_export_name : wire::option_go);
}

template <typename T>
void NbdSession::put(const T& structure) {
    const auto bytes = std::as_bytes(std::span(&structure, 1));
    output.insert(output.end(), bytes.begin(), bytes.end());
}

template <typename T>
std::optional<T> NbdSession::peek(u64 offset) const {
    if (input().size() < offset + sizeof(T)) return std::nullopt;
    return read_from<T>(input().subspan(offset));
}

// ---- What the client says ----

void NbdSession::option_next() {
    const u32 option = options_[option_];
    const bool chooses = option == wire::option_info || option == wire::option_go;
    if (!chooses) {
        const u32 length = option == unknown_option ? sizeof(u64be) : 0;
        put(wire::OptionHeader{.option = option, .length = length});
        if (length > 0) put(u64be{prng_.next()});
        if (option == wire::option_export_name) state_ = State::export_name;
        return;
    }
    // The name is empty: the default export.
    const u16 infos = manner_.block_sizes ? 1 : 0;
    put(wire::OptionHeader{
        .option = option,
        .length = static_cast<u32>(sizeof(u32be) + sizeof(u16be) + infos * sizeof(u16be))});
    put(u32be{0});
    put(u16be{infos});
    if (infos > 0) put(u16be{wire::info_block_size});
    export_known_ = blocks_known_ = false;
}

void NbdSession::request(Job& job) {
    using engine::Op;
    ASSERT(ready());
    const bool changes = job.op == Op::write || job.op == Op::discard || job.op == Op::write_zeroes;
    Flight flight{.cookie = prng_.next(), .job = &job};
    u32 flags = 0;
    if (job.fua && changes) flags |= wire::flag_fua;
    if (job.op == Op::write_zeroes && job.no_unmap) flags |= wire::flag_no_hole;
    if (job.op == Op::write_zeroes && job.fast_zero) flags |= wire::flag_fast_zero;
    if (job.op == Op::read && manner_.style != ReplyStyle::simple && prng_.below(4) == 0) {
        flags |= wire::flag_df;
        flight.dont_fragment = true;
    }
    const ByteRange range = job.op == Op::flush ? ByteRange{} : job.range;
    if (manner_.style == ReplyStyle::extended) {
        if (job.op == Op::write) flags |= wire::flag_payload_len;
        put(wire::ExtendedRequest{.flags = static_cast<u16>(flags),
                                  .type = command_of(job.op),
                                  .cookie = flight.cookie,
                                  .offset = range.offset,
                                  .length = range.length});
    } else {
        put(wire::Request{.flags = static_cast<u16>(flags),
                          .type = command_of(job.op),
                          .cookie = flight.cookie,
                          .offset = range.offset,
                          .length = static_cast<u32>(range.length)});
    }
    if (job.op == Op::write) output.insert(output.end(), job.data.begin(), job.data.end());
    flights_.push_back(std::move(flight));
}

void NbdSession::disconnect() {
    if (manner_.style == ReplyStyle::extended) {
        put(wire::ExtendedRequest{.type = wire::command_disconnect});
    } else {
        put(wire::Request{.type = wire::command_disconnect});
    }
}

std::vector<Job*> NbdSession::outstanding() const {
    std::vector<Job*> jobs;
    for (const Flight& flight : flights_) jobs.push_back(flight.job);
    return jobs;
}

// ---- What it hears ----

void NbdSession::hear(std::span<const std::byte> bytes) {
    input_.erase(input_.begin(), input_.begin() + static_cast<std::ptrdiff_t>(begin_));
    begin_ = 0;
    input_.insert(input_.end(), bytes.begin(), bytes.end());
    while (violation_.empty() && step()) continue;
}

// One message, if all of it is there.
bool NbdSession::step() {
    switch (state_) {
        case State::greeting: return greeting_step();
        case State::options: return option_step();
        case State::export_name: return export_name_step();
        case State::replies: break;
    }
    switch (manner_.style) {
        case ReplyStyle::simple: return simple_step();
        case ReplyStyle::structured: return structured_step();
        case ReplyStyle::extended: return extended_step();
    }
    return false;
}

bool NbdSession::greeting_step() {
    const auto greeting = peek<wire::Greeting>();
    if (!greeting) return false;
    constexpr u16 both = wire::handshake_fixed_newstyle | wire::handshake_no_zeroes;
    if (greeting->magic != wire::greeting_magic || greeting->option_magic != wire::option_magic ||
        (greeting->flags & both) != both) {
        return violate("a greeting that is none");
    }
    begin_ += sizeof *greeting;
    const u32 flags =
        wire::handshake_fixed_newstyle | (manner_.no_zeroes ? wire::handshake_no_zeroes : 0U);
    put(wire::ClientFlags{.flags = flags});
    state_ = State::options;
    option_next();
    return true;
}

bool NbdSession::option_step() {
    const auto reply = peek<wire::OptionReply>();
    if (!reply) return false;
    if (reply->magic != wire::option_reply_magic || reply->option != options_[option_]) {
        return violate("a reply to an option that was not asked for");
    }
    if (reply->length > nbd::option_bytes_max) return violate("a reply to an option without end");
    const u64 whole = sizeof *reply + reply->length;
    if (input().size() < whole) return false;
    const auto data = input().subspan(sizeof *reply, reply->length);
    begin_ += whole;
    option_on_reply(reply->type, data);
    return true;
}

void NbdSession::option_on_reply(u32 type, std::span<const std::byte> data) {
    const u32 option = options_[option_];
    const bool chooses = option == wire::option_info || option == wire::option_go;
    if (type == wire::reply_info && chooses) return info_on_reply(data);
    if (type == wire::reply_server && option == wire::option_list) return;
    const u32 expected = option == unknown_option ? wire::reply_error_unsupported : wire::reply_ack;
    if (type != expected) {
        violate("an option was not answered as it has to be");
        return;
    }
    if (chooses && (!export_known_ || blocks_known_ != manner_.block_sizes)) {
        violate("an export without its size");
        return;
    }
    if (option == wire::option_go) {
        state_ = State::replies;
        return;
    }
    ++option_;
    option_next();
}

void NbdSession::info_on_reply(std::span<const std::byte> data) {
    const u16 type = data.size() < sizeof(u16be) ? u16{0xffff} : u16{read_from<u16be>(data)};
    if (type == wire::info_export && data.size() == sizeof(wire::InfoExport) && !export_known_) {
        export_known_ = read_from<wire::InfoExport>(data).size > 0;
    } else if (type == wire::info_block_size && data.size() == sizeof(wire::InfoBlockSize)) {
        const auto sizes = read_from<wire::InfoBlockSize>(data);
        blocks_known_ = sizes.minimum <= sizes.preferred && sizes.payload_maximum > 0;
    } else {
        violate("an information that nobody asked for");
    }
}

bool NbdSession::export_name_step() {
    const u64 zeroes = manner_.no_zeroes ? 0 : wire::export_name_zeroes_bytes;
    const auto reply = peek<wire::ExportNameReply>();
    if (!reply || input().size() < sizeof *reply + zeroes) return false;
    const auto filler = input().subspan(sizeof *reply, zeroes);
    begin_ += sizeof *reply + zeroes;
    if (reply->size == 0 || (reply->flags & wire::has_flags) == 0 ||
        std::ranges::any_of(filler, [](std::byte byte) { return byte != std::byte{0}; })) {
        return violate("an export without its size");
    }
    state_ = State::replies;
    return true;
}

bool NbdSession::simple_step() {
    const auto reply = peek<wire::SimpleReply>();
    if (!reply) return false;
    if (reply->magic != wire::simple_reply_magic) return violate("a reply without its magic");
    Flight* flight = flight_of(reply->cookie);
    if (!flight) return violate("a reply to no request");
    Job& job = *flight->job;
    const bool has_data = job.op == engine::Op::read && reply->error == 0;
    const u64 whole = sizeof *reply + (has_data ? job.range.length : 0);
    if (input().size() < whole) return false;
    if (has_data) cover(*flight, job.range, input().data() + sizeof *reply);
    begin_ += whole;
    if (reply->error != 0) {
        flight->error = error_of(*flight, reply->error);
        flight->error_known = true;
    }
    end(*flight);
    return true;
}

bool NbdSession::structured_step() {
    const auto reply = peek<wire::StructuredReply>();
    if (!reply) return false;
    if (reply->magic != wire::structured_reply_magic) return violate("a reply without its magic");
    if (reply->length > payload_bytes_max) return violate("a chunk without end");
    const u64 whole = sizeof *reply + reply->length;
    if (input().size() < whole) return false;
    const Chunk found = {reply->flags, reply->type, reply->cookie,
                         input().subspan(sizeof *reply, reply->length)};
    begin_ += whole;
    chunk(found);
    return true;
}

bool NbdSession::extended_step() {
    const auto reply = peek<wire::ExtendedReply>();
    if (!reply) return false;
    if (reply->magic != wire::extended_reply_magic) return violate("a reply without its magic");
    if (reply->length > payload_bytes_max) return violate("a chunk without end");
    const u64 whole = sizeof *reply + reply->length;
    if (input().size() < whole) return false;
    const Flight* flight = flight_of(reply->cookie);
    const bool flush = flight && flight->job->op == engine::Op::flush;
    if (flight && reply->offset != (flush ? 0 : flight->job->range.offset)) {
        return violate("a reply with another request's offset", flight);
    }
    const Chunk found = {reply->flags, reply->type, reply->cookie,
                         input().subspan(sizeof *reply, reply->length)};
    begin_ += whole;
    chunk(found);
    return true;
}

void NbdSession::chunk(const Chunk& chunk) {
    Flight* flight = flight_of(chunk.cookie);
    if (!flight) {
        violate("a chunk of no request");
        return;
    }
    const bool done = (chunk.flags & wire::reply_flag_done) != 0;
    switch (chunk.type) {
        case wire::chunk_none:
            if (!done || !chunk.payload.empty()) violate("a chunk of nothing in between", flight);
            break;
        case wire::chunk_offset_data:
        case wire::chunk_offset_hole: chunk_of_data(*flight, chunk); break;
        case wire::chunk_error:
        case wire::chunk_error_offset: chunk_of_error(*flight, chunk); break;
        default: violate("a chunk that nobody asked for", flight); break;
    }
    if (done && violation_.empty()) end(*flight);
}

void NbdSession::chunk_of_data(Flight& flight, const Chunk& chunk) {
    const bool hole = chunk.type == wire::chunk_offset_hole;
    const std::size_t head = hole ? sizeof(wire::OffsetHole) : sizeof(wire::OffsetData);
    const bool long_enough = hole ? chunk.payload.size() == head : chunk.payload.size() > head;
    if (!long_enough || flight.job->op != engine::Op::read) {
        violate("a chunk of data that fits nothing", &flight);
        return;
    }
    if (hole) {
        const auto zeroes = read_from<wire::OffsetHole>(chunk.payload);
        cover(flight, {zeroes.offset, zeroes.length}, nullptr);
    } else {
        const auto data = read_from<wire::OffsetData>(chunk.payload);
        cover(flight, {data.offset, chunk.payload.size() - head}, chunk.payload.data() + head);
    }
    if (flight.dont_fragment && (hole || flight.covered.size() != 1)) {
        violate("a fragment that was not to be", &flight);
    }
}

void NbdSession::chunk_of_error(Flight& flight, const Chunk& chunk) {
    const bool has_offset = chunk.type == wire::chunk_error_offset;
    const std::size_t tail = has_offset ? sizeof(u64be) : 0;
    if (chunk.payload.size() < sizeof(wire::ChunkError)) {
        violate("an error without a number", &flight);
        return;
    }
    const auto error = read_from<wire::ChunkError>(chunk.payload);
    if (chunk.payload.size() != sizeof error + error.message_length + tail) {
        violate("an error whose lengths do not add up", &flight);
        return;
    }
    if (has_offset) {
        const u64 offset = read_from<u64be>(chunk.payload.subspan(chunk.payload.size() - tail));
        const ByteRange& range = flight.job->range;
        if (offset < range.offset || offset >= range.end()) {
            violate("an error outside of its request", &flight);
            return;
        }
    }
    if (!flight.error_known) flight.error = error_of(flight, error.error);
    flight.error_known = true;
}

// Bytes of a read have come; `data` is null for zeroes.
void NbdSession::cover(Flight& flight, ByteRange range, const std::byte* data) {
    Job& job = *flight.job;
    const bool inside =
        range.length > 0 && range.offset >= job.range.offset &&
        ByteRange{range.offset - job.range.offset, range.length}.fits(job.range.length);
    if (!inside) {
        violate("data outside of its request", &flight);
        return;
    }
    for (const ByteRange& other : flight.covered) {
        if (!other.overlaps(range)) continue;
        violate("the same data twice", &flight);
        return;
    }
    flight.covered.push_back(range);
    std::byte* to = job.data.data() + (range.offset - job.range.offset);
    if (data) {
        std::memcpy(to, data, range.length);
    } else {
        std::memset(to, 0, range.length);
    }
}

void NbdSession::end(Flight& flight) {
    Job& job = *flight.job;
    u64 covered = 0;
    for (const ByteRange& range : flight.covered) covered += range.length;
    const bool complete = job.op != engine::Op::read || covered == job.range.length;
    if (!flight.error_known && !complete) {
        violate("the end of a read that has not all its data", &flight);
        return;
    }
    answers.push_back({&job, flight.error});
    flights_.erase(flights_.begin() + (&flight - flights_.data()));
}

NbdSession::Flight* NbdSession::flight_of(u64 cookie) {
    const auto found = std::ranges::find(flights_, cookie, &Flight::cookie);
    return found == flights_.end() ? nullptr : &*found;
}

// The numbers of the wire are those of Linux; which of them a reply may have is the protocol's.
i32 NbdSession::error_of(const Flight& flight, u32 number) {
    switch (static_cast<wire::Error>(number)) {
        case wire::Error::none: violate("an error of 0", &flight); break;
        case wire::Error::enotsup:
            if (!flight.job->fast_zero) violate("ENOTSUP of what is no fast zero", &flight);
            break;
        case wire::Error::eoverflow:
            if (!flight.dont_fragment) violate("EOVERFLOW of what may be cut", &flight);
            break;
        case wire::Error::eperm:
        case wire::Error::eio:
        case wire::Error::enomem:
        case wire::Error::einval:
        case wire::Error::enospc:
        case wire::Error::eshutdown: break;
        default: violate("an error that the protocol does not have", &flight); break;
    }
    return static_cast<i32>(number);
}

bool NbdSession::violate(const char* what, const Flight* flight) {
    if (!violation_.empty()) return false;
    violation_ = std::string("nbd: ") + what;
    if (flight) violation_ += ", job " + std::to_string(flight->job->number);
    return false;
}

}  // namespace ringloop::sim
