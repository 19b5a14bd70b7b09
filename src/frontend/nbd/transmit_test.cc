#include "frontend/nbd/transmit.h"

#include <gtest/gtest.h>

#include <array>

#include "frontend/nbd/test_client.h"

namespace ringloop::nbd {
namespace {

using namespace test;
using Event = RequestDecoder::Event;
using wire::Error;

constexpr u16 all_flags = wire::has_flags | wire::send_flush | wire::send_fua | wire::send_trim |
                          wire::send_write_zeroes | wire::send_df | wire::can_multi_conn |
                          wire::send_cache | wire::send_fast_zero;

constexpr Agreement simple{
    .flags = all_flags & ~wire::send_df, .size_bytes = mib, .payload_bytes_max = 64 * 1024};
constexpr Agreement structured{.style = ReplyStyle::structured,
                               .flags = all_flags,
                               .size_bytes = mib,
                               .payload_bytes_max = 64 * 1024,
                               .block_status = true};
constexpr Agreement extended{.style = ReplyStyle::extended,
                             .flags = all_flags | wire::block_status_payload,
                             .size_bytes = u64{1} << 63,
                             .payload_bytes_max = 64 * 1024,
                             .block_status = true};

// One event as it came out, with the payload that belongs to it.
struct Heard {
    Event event;
    Command command;
    Refusal refusal;
    std::string payload;
};

struct Session {
    std::vector<Heard> heard;
    std::string_view reason;
    std::size_t left = 0;
};

class Listener {
public:
    explicit Listener(const Agreement& agreement) : decoder_(agreement) {}

    void receive(Bytes input) {
        for (;;) {
            const RequestDecoder::Progress progress = decoder_.consume(input);
            const Bytes consumed = input.first(progress.consumed);
            input = input.subspan(progress.consumed);
            switch (progress.event) {
                case Event::need_input: EXPECT_TRUE(input.empty()); return;
                case Event::payload:
                    session_.heard.back().payload.append(
                        reinterpret_cast<const char*>(consumed.data()), consumed.size());
                    break;
                case Event::command:
                case Event::refused:
                    session_.heard.push_back(
                        {progress.event, decoder_.command(), decoder_.refusal(), {}});
                    break;
                case Event::disconnect:
                case Event::close:
                    session_.left += input.size();
                    if (!ended_) session_.heard.push_back({progress.event, {}, {}, {}});
                    ended_ = true;
                    return;
            }
        }
    }
    Session finish() {
        session_.reason = decoder_.reason();
        return session_;
    }

private:
    RequestDecoder decoder_;
    Session session_;
    bool ended_ = false;
};

void expect_same(const Session& one, const Session& other, std::size_t cut) {
    ASSERT_EQ(one.heard.size(), other.heard.size()) << "cut at " << cut;
    for (std::size_t i = 0; i < one.heard.size(); ++i) {
        ASSERT_EQ(one.heard[i].event, other.heard[i].event) << "cut at " << cut;
        ASSERT_EQ(one.heard[i].command.cookie, other.heard[i].command.cookie);
        ASSERT_EQ(one.heard[i].command.range, other.heard[i].command.range);
        ASSERT_EQ(one.heard[i].refusal.error, other.heard[i].refusal.error);
        ASSERT_EQ(one.heard[i].payload, other.heard[i].payload) << "cut at " << cut;
    }
    ASSERT_EQ(one.left, other.left) << "cut at " << cut;
}

// The whole session, and the same cut at every byte.
Session listen(const Agreement& agreement, const Script& script) {
    Listener at_once(agreement);
    at_once.receive(script.bytes());
    const Session whole = at_once.finish();
    for (const std::size_t cut : cuts_of(script.size())) {
        Listener listener(agreement);
        listener.receive(script.bytes().first(cut));
        listener.receive(script.bytes().subspan(cut));
        expect_same(whole, listener.finish(), cut);
        if (testing::Test::HasFatalFailure()) break;
    }
    return whole;
}

struct Ask {
    u16 type = wire::command_read;
    u16 flags = 0;
    u64 offset = 0;
    u64 length = 4096;
    u64 cookie = 0x0123456789abcdef;
};

Script request(const Agreement& agreement, const Ask& ask) {
    if (agreement.style == ReplyStyle::extended) {
        return Script().put(wire::ExtendedRequest{.flags = ask.flags,
                                                  .type = ask.type,
                                                  .cookie = ask.cookie,
                                                  .offset = ask.offset,
                                                  .length = ask.length});
    }
    return Script().put(wire::Request{.flags = ask.flags,
                                      .type = ask.type,
                                      .cookie = ask.cookie,
                                      .offset = ask.offset,
                                      .length = static_cast<u32>(ask.length)});
}

// The answer to one request, behind which a flush has to work: nobody lost count.
Heard answer(const Agreement& agreement, const Ask& ask, const Script& payload = {}) {
    Script script = request(agreement, ask).text(payload.str());
    script.text(request(agreement, {.type = wire::command_flush, .length = 0, .cookie = 7}).str());
    const Session session = listen(agreement, script);
    EXPECT_EQ(session.heard.size(), 2u);
    if (session.heard.size() != 2) return {};
    EXPECT_EQ(session.heard[1].event, Event::command);
    EXPECT_EQ(session.heard[1].command.cookie, 7u);
    EXPECT_EQ(session.heard[0].command.cookie, ask.cookie);
    return session.heard[0];
}

Error error_of(const Agreement& agreement, const Ask& ask, const Script& payload = {}) {
    const Heard heard = answer(agreement, ask, payload);
    EXPECT_EQ(heard.event == Event::command, heard.refusal.error == Error::none);
    EXPECT_EQ(heard.refusal.message.empty(), heard.refusal.error == Error::none);
    return heard.refusal.error;
}

constexpr std::array<const Agreement*, 3> every_style{&simple, &structured, &extended};
constexpr std::array<u16, 5> ranged{wire::command_read, wire::command_trim, wire::command_cache,
                                    wire::command_write_zeroes, wire::command_block_status};

// ---- Good requests ----

TEST(NbdRequest, BecomesACommandWithItsRangeAndCookie) {
    for (const Agreement* agreement : every_style) {
        const Heard heard = answer(*agreement, {.offset = 512, .length = 1000});
        EXPECT_EQ(heard.event, Event::command);
        EXPECT_EQ(heard.command.type, CommandType::read);
        EXPECT_EQ(heard.command.range, (ByteRange{512, 1000}));
        EXPECT_EQ(heard.command.wire_offset, 512u);
        EXPECT_EQ(heard.command.payload_bytes, 0u);
    }
}

TEST(NbdRequest, OfEveryOfferedCommandIsAccepted) {
    for (const u16 type : ranged) {
        EXPECT_EQ(error_of(structured, {.type = type}), Error::none) << type;
        EXPECT_EQ(error_of(extended, {.type = type}), Error::none) << type;
    }
}

TEST(NbdRequest, OfAWriteHandsOverItsPayloadAndNothingElse) {
    const Script data = Script().fill(3000, 'd');
    for (const Agreement* agreement : {&simple, &structured}) {
        const Heard heard = answer(*agreement, {.type = wire::command_write, .length = 3000}, data);
        EXPECT_EQ(heard.command.payload_bytes, 3000u);
        EXPECT_EQ(heard.payload, data.str());
    }
    const Heard heard = answer(
        extended, {.type = wire::command_write, .flags = wire::flag_payload_len, .length = 3000},
        data);
    EXPECT_EQ(heard.command.range.length, 3000u);
    EXPECT_EQ(heard.payload, data.str());
}

TEST(NbdRequest, PayloadCanBeReceivedByTheOwnerItself) {
    RequestDecoder decoder(simple);
    const Script write = request(simple, {.type = wire::command_write, .length = 100});
    ASSERT_EQ(decoder.consume(write.bytes()).event, Event::command);
    EXPECT_EQ(decoder.payload_left(), 100u);
    decoder.payload_received(60);
    EXPECT_EQ(decoder.consume(Script().fill(30, 'd').bytes()).event, Event::payload);
    EXPECT_EQ(decoder.payload_left(), 10u);
    decoder.payload_received(10);
    EXPECT_EQ(decoder.payload_left(), 0u);
    EXPECT_EQ(decoder.consume(request(simple, {}).bytes()).event, Event::command);
    EXPECT_EQ(decoder.payload_left(), 0u);
}

TEST(NbdRequest, FlagsOfACommandReachIt) {
    const Heard zeroes =
        answer(structured, {.type = wire::command_write_zeroes,
                            .flags = wire::flag_no_hole | wire::flag_fast_zero | wire::flag_fua});
    EXPECT_TRUE(zeroes.command.no_hole && zeroes.command.fast_zero && zeroes.command.fua);
    EXPECT_FALSE(zeroes.command.dont_fragment || zeroes.command.req_one);
    EXPECT_TRUE(answer(structured, {.flags = wire::flag_df}).command.dont_fragment);
    EXPECT_TRUE(
        answer(structured, {.type = wire::command_block_status, .flags = wire::flag_req_one})
            .command.req_one);
}

TEST(NbdRequest, DisconnectEndsItWithoutAReplyAndWithoutReadingOn) {
    for (const Agreement* agreement : every_style) {
        Script script = request(*agreement, {});
        script.text(request(*agreement, {.type = wire::command_disconnect, .length = 0}).str());
        const Session session = listen(*agreement, script.text("behind"));
        ASSERT_EQ(session.heard.size(), 2u);
        EXPECT_EQ(session.heard[1].event, Event::disconnect);
        EXPECT_EQ(session.left, 6u);
    }
}

// ---- Flags ----

TEST(NbdRequestFlags, ForceUnitAccessIsAcceptedOnEveryCommand) {
    for (const u16 type : ranged) {
        EXPECT_EQ(error_of(structured, {.type = type, .flags = wire::flag_fua}), Error::none);
    }
    EXPECT_EQ(
        error_of(structured, {.type = wire::command_flush, .flags = wire::flag_fua, .length = 0}),
        Error::none);
    Agreement without = structured;
    without.flags &= static_cast<u16>(~wire::send_fua);
    EXPECT_EQ(error_of(without, {.type = wire::command_trim, .flags = wire::flag_fua}),
              Error::einval);
}

TEST(NbdRequestFlags, OfAnotherCommandAreInvalid) {
    struct Row {
        u16 flag;
        u16 type;
    };
    constexpr std::array<Row, 4> owners{{{wire::flag_no_hole, wire::command_write_zeroes},
                                         {wire::flag_fast_zero, wire::command_write_zeroes},
                                         {wire::flag_df, wire::command_read},
                                         {wire::flag_req_one, wire::command_block_status}}};
    for (const Row& owner : owners) {
        for (const u16 type : ranged) {
            EXPECT_EQ(error_of(structured, {.type = type, .flags = owner.flag}),
                      type == owner.type ? Error::none : Error::einval)
                << type << " with " << owner.flag;
        }
    }
}

TEST(NbdRequestFlags, ThatNobodyKnowsAreInvalid) {
    for (u32 bit = 5; bit < 16; ++bit) {
        const auto flag = static_cast<u16>(1u << bit);
        EXPECT_EQ(error_of(structured, {.flags = flag}), Error::einval) << bit;
        const Script data = Script().fill(4096, 'd');
        EXPECT_EQ(error_of(simple, {.type = wire::command_write, .flags = flag}, data),
                  Error::einval)
            << "its payload is drained";
    }
}

TEST(NbdRequestFlags, ThatWereNotOfferedAreInvalid) {
    EXPECT_EQ(error_of(simple, {.flags = wire::flag_df}), Error::einval);
    Agreement slow = structured;
    slow.flags &= static_cast<u16>(~wire::send_fast_zero);
    EXPECT_EQ(error_of(slow, {.type = wire::command_write_zeroes, .flags = wire::flag_fast_zero}),
              Error::einval);
    EXPECT_EQ(error_of(slow, {.type = wire::command_write_zeroes, .flags = wire::flag_no_hole}),
              Error::none);
}

// ---- Commands ----

TEST(NbdRequestCommand, ThatIsUnknownIsInvalid) {
    for (const u32 type : {8u, 9u, 255u, 0xffffu}) {
        for (const Agreement* agreement : every_style) {
            EXPECT_EQ(error_of(*agreement, {.type = static_cast<u16>(type)}), Error::einval);
        }
    }
}

TEST(NbdRequestCommand, ThatWasNotOfferedIsInvalid) {
    const Agreement bare{.flags = wire::has_flags, .size_bytes = mib};
    for (const u16 type : ranged) {
        if (type == wire::command_read) continue;
        const Session session = listen(bare, request(bare, {.type = type}));
        ASSERT_EQ(session.heard.size(), 1u);
        EXPECT_EQ(session.heard[0].refusal.error, Error::einval) << type;
    }
}

TEST(NbdRequestCommand, BlockStatusWithoutAContextIsInvalid) {
    Agreement without = structured;
    without.block_status = false;
    EXPECT_EQ(error_of(without, {.type = wire::command_block_status}), Error::einval);
}

TEST(NbdRequestCommand, ThatChangesAReadOnlyExportIsNotPermitted) {
    for (const u16 more : {u16{0}, u16{wire::send_trim | wire::send_write_zeroes}}) {
        const Agreement agreement{
            .flags = static_cast<u16>(wire::has_flags | wire::read_only | wire::send_flush | more),
            .size_bytes = mib};
        const Script data = Script().fill(4096, 'd');
        EXPECT_EQ(error_of(agreement, {.type = wire::command_write}, data), Error::eperm);
        EXPECT_EQ(error_of(agreement, {.type = wire::command_trim}), Error::eperm);
        EXPECT_EQ(error_of(agreement, {.type = wire::command_write_zeroes}), Error::eperm);
        EXPECT_EQ(error_of(agreement, {}), Error::none);
    }
}

TEST(NbdRequestCommand, FlushWithAPositionIsInvalid) {
    EXPECT_EQ(error_of(simple, {.type = wire::command_flush, .length = 0}), Error::none);
    EXPECT_EQ(error_of(simple, {.type = wire::command_flush, .length = 1}), Error::einval);
    EXPECT_EQ(error_of(simple, {.type = wire::command_flush, .offset = 1, .length = 0}),
              Error::einval);
}

// ---- Ranges ----

TEST(NbdRequestRange, OfNoBytesIsInvalidAndTheConnectionGoesOn) {
    for (const u16 type : ranged) {
        EXPECT_EQ(error_of(structured, {.type = type, .length = 0}), Error::einval);
        EXPECT_EQ(error_of(extended, {.type = type, .length = 0}), Error::einval);
    }
    EXPECT_EQ(error_of(simple, {.type = wire::command_write, .length = 0}), Error::einval);
    EXPECT_EQ(error_of(extended,
                       {.type = wire::command_write, .flags = wire::flag_payload_len, .length = 0}),
              Error::einval);
}

TEST(NbdRequestRange, PastTheEndIsNoSpaceForWhatNeedsSpaceAndInvalidForTheRest) {
    struct Row {
        u64 offset;
        bool fits;
    };
    for (const Row row :
         {Row{mib - 4096, true}, Row{mib - 4095, false}, Row{mib, false}, Row{~u64{0}, false},
          Row{~u64{0} - 4095, false}, Row{(u64{1} << 63) - 1, false}}) {
        for (const u16 type : ranged) {
            const Error past = type == wire::command_write_zeroes ? Error::enospc : Error::einval;
            EXPECT_EQ(error_of(structured, {.type = type, .offset = row.offset}),
                      row.fits ? Error::none : past)
                << type << " at " << row.offset;
        }
        const Script data = Script().fill(4096, 'd');
        EXPECT_EQ(error_of(simple, {.type = wire::command_write, .offset = row.offset}, data),
                  row.fits ? Error::none : Error::enospc);
    }
}

TEST(NbdRequestRange, ThatIsNotMadeOfMinimumBlocksIsInvalid) {
    Agreement blocks = structured;
    blocks.block_bytes_min = 512;
    for (const u16 type : ranged) {
        EXPECT_EQ(error_of(blocks, {.type = type, .offset = 512, .length = 512}), Error::none);
        EXPECT_EQ(error_of(blocks, {.type = type, .offset = 256, .length = 512}), Error::einval);
        EXPECT_EQ(error_of(blocks, {.type = type, .offset = 512, .length = 513}), Error::einval);
    }
    // A client that was not told of them may ask for any byte.
    EXPECT_EQ(error_of(structured, {.offset = 255, .length = 1}), Error::none);
}

TEST(NbdRequestRange, OfCommandsWithoutDataHasNoLimitButTheExport) {
    for (const u64 length : {(u64{1} << 31) - 1, u64{1} << 31, (u64{1} << 32) - 1, u64{1} << 32,
                             (u64{1} << 32) + 1, (u64{1} << 63) - 1, u64{1} << 63}) {
        for (const u16 type : {wire::command_trim, wire::command_cache, wire::command_write_zeroes,
                               wire::command_block_status}) {
            const Heard heard = answer(extended, {.type = type, .length = length});
            EXPECT_EQ(heard.refusal.error, Error::none) << length;
            EXPECT_EQ(heard.command.range.length, length) << "not a bit of it lost";
        }
    }
    EXPECT_EQ(error_of(extended, {.type = wire::command_trim, .length = (u64{1} << 63) + 1}),
              Error::einval);
    EXPECT_EQ(
        error_of(extended,
                 {.type = wire::command_write_zeroes, .offset = u64{1} << 62, .length = ~u64{0}}),
        Error::enospc);
    Agreement large = simple;
    large.size_bytes = u64{1} << 40;
    for (const u64 length : {u64{1} << 31, (u64{1} << 32) - 1}) {
        EXPECT_EQ(
            answer(large, {.type = wire::command_write_zeroes, .length = length}).command.range,
            (ByteRange{0, length}));
    }
}

TEST(NbdRequestRange, OfAReadIsLimitedByTheAdvertisedPayload) {
    for (const Agreement* agreement : every_style) {
        EXPECT_EQ(error_of(*agreement, {.length = 65536}), Error::none);
        EXPECT_EQ(error_of(*agreement, {.length = 65537}), Error::einval);
        EXPECT_EQ(error_of(*agreement, {.length = 0xffffffff}), Error::einval);
    }
    EXPECT_EQ(error_of(extended, {.length = u64{1} << 32}), Error::einval);
    EXPECT_EQ(error_of(structured, {.flags = wire::flag_df, .length = 65536}), Error::none)
        << "64 KiB without fragments have to work";
    EXPECT_EQ(error_of(structured, {.flags = wire::flag_df, .length = 65537}), Error::eoverflow);
}

// ---- Payloads ----

TEST(NbdPayload, AboveTheAdvertisedMaximumIsDrainedAndInvalid) {
    const Script data = Script().fill(65537, 'd');
    EXPECT_EQ(error_of(simple, {.type = wire::command_write, .length = 65537}, data),
              Error::einval);
    EXPECT_EQ(
        error_of(extended,
                 {.type = wire::command_write, .flags = wire::flag_payload_len, .length = 65537},
                 data),
        Error::einval);
}

TEST(NbdPayload, AboveTheLimitOfARequestEndsTheConnectionUnread) {
    for (const u64 length : {u64{request_bytes_max} + 1, u64{1} << 31, u64{0xffffffff}}) {
        const Session session = listen(
            simple, request(simple, {.type = wire::command_write, .length = length}).text("data"));
        ASSERT_EQ(session.heard.size(), 1u);
        EXPECT_EQ(session.heard[0].event, Event::close);
        EXPECT_FALSE(session.reason.empty());
        EXPECT_EQ(session.left, 4u);
    }
    for (const u64 length : {u64{request_bytes_max} + 1, u64{1} << 32, ~u64{0}}) {
        for (const u16 type : {wire::command_write, wire::command_read, u16{4711}}) {
            const Session session =
                listen(extended,
                       request(extended,
                               {.type = type, .flags = wire::flag_payload_len, .length = length}));
            ASSERT_EQ(session.heard.size(), 1u);
            EXPECT_EQ(session.heard[0].event, Event::close);
        }
    }
}

TEST(NbdPayload, UpToTheLimitOfARequestIsDrainedInPieces) {
    RequestDecoder decoder(simple);
    const Script write =
        request(simple, {.type = wire::command_write, .length = request_bytes_max});
    EXPECT_EQ(decoder.consume(write.bytes()).event, Event::need_input);
    const Script piece = Script().fill(mib, 'd');
    for (u32 i = 1; i < request_bytes_max / mib; ++i) {
        EXPECT_EQ(decoder.consume(piece.bytes()).event, Event::need_input);
    }
    const RequestDecoder::Progress last = decoder.consume(piece.bytes());
    EXPECT_EQ(last.event, Event::refused);
    EXPECT_EQ(last.consumed, mib);
    EXPECT_EQ(decoder.refusal().error, Error::einval);
}

TEST(NbdPayload, OfARefusedWriteIsNotHandedOver) {
    const Heard heard =
        answer(simple, {.type = wire::command_write, .offset = mib}, Script().fill(4096, 'd'));
    EXPECT_EQ(heard.event, Event::refused);
    EXPECT_TRUE(heard.payload.empty());
}

TEST(NbdPayload, OfACommandThatHasNoneIsDrainedAndInvalid) {
    for (const u16 type : {wire::command_read, wire::command_trim, wire::command_cache,
                           wire::command_write_zeroes, wire::command_flush, u16{4711}}) {
        const Script data = Script().fill(100, 'd');
        EXPECT_EQ(error_of(extended, {.type = type, .flags = wire::flag_payload_len, .length = 100},
                           data),
                  Error::einval);
    }
}

TEST(NbdPayload, IsNeverGuessedForAnExtendedWriteWithoutItsFlag) {
    const Session session = listen(extended, request(extended, {.type = wire::command_write}));
    ASSERT_EQ(session.heard.size(), 1u);
    EXPECT_EQ(session.heard[0].event, Event::close);
}

Ask status_query(u64 payload) {
    return {.type = wire::command_block_status,
            .flags = wire::flag_payload_len,
            .offset = 512,
            .length = payload};
}

TEST(NbdPayload, OfABlockStatusCarriesItsLengthAndContexts) {
    const u64 length = u64{1} << 62;
    const Script good = Script().put(u64be{length}).put(u32be{allocation_context_id});
    const Heard heard = answer(extended, status_query(12), good);
    EXPECT_EQ(heard.event, Event::command);
    EXPECT_EQ(heard.command.range, (ByteRange{512, length}));
    EXPECT_EQ(heard.command.payload_bytes, 0u);
}

TEST(NbdPayload, OfABlockStatusWithAnythingElseIsDrainedAndInvalid) {
    const u32 id = allocation_context_id;
    const std::array<Script, 7> bad{Script(),
                                    Script().fill(7, 'x'),
                                    Script().put(u64be{512}),
                                    Script().put(u64be{512}).put(u32be{id + 1}),
                                    Script().put(u64be{512}).put(u32be{id}).put(u32be{id}),
                                    Script().put(u64be{0}).put(u32be{id}),
                                    Script().put(u64be{~u64{0}}).put(u32be{id})};
    for (const Script& payload : bad) {
        EXPECT_EQ(error_of(extended, status_query(payload.size()), payload), Error::einval);
    }
    Agreement not_offered = extended;
    not_offered.flags &= static_cast<u16>(~wire::block_status_payload);
    const Script good = Script().put(u64be{512}).put(u32be{id});
    EXPECT_EQ(error_of(not_offered, status_query(12), good), Error::einval);
}

// ---- Lost synchronization ----

TEST(NbdStream, WithoutTheRightMagicNumberEndsTheConnection) {
    const std::string compact = request(simple, {}).str();
    const std::string long_one = request(extended, {}).str();
    for (const auto& [agreement, text] :
         {std::pair{&extended, compact + "more"}, std::pair{&simple, long_one},
          std::pair{&structured, long_one}, std::pair{&simple, std::string(28, '\0')}}) {
        const Session session = listen(*agreement, Script(text));
        ASSERT_EQ(session.heard.size(), 1u);
        EXPECT_EQ(session.heard[0].event, Event::close);
    }
}

TEST(NbdStream, OfManyRequestsInOneReceiveGivesThemAllInOrder) {
    Script script;
    for (u64 i = 0; i < 50; ++i) {
        script.text(request(simple, {.offset = i * 4096, .cookie = i}).str());
        script.text(request(simple, {.type = wire::command_write, .length = 8, .cookie = i}).str());
        script.fill(8, static_cast<char>('a' + i % 26));
    }
    const Session session = listen(simple, script);
    ASSERT_EQ(session.heard.size(), 100u);
    for (u64 i = 0; i < 50; ++i) {
        EXPECT_EQ(session.heard[2 * i].command.range.offset, i * 4096);
        EXPECT_EQ(session.heard[2 * i + 1].payload,
                  std::string(8, static_cast<char>('a' + i % 26)));
    }
}

}  // namespace
}  // namespace ringloop::nbd
