#include "frontend/nbd/negotiate.h"

#include <gtest/gtest.h>

#include <array>
#include <cstring>

#include "frontend/nbd/test_client.h"

namespace ringloop::nbd {
namespace {

using namespace test;
using Event = Negotiation::Event;
using Types = std::vector<u32>;

constexpr u16 device_flags = wire::send_flush | wire::send_fua | wire::send_trim |
                             wire::send_write_zeroes | wire::send_fast_zero | wire::can_multi_conn;

const std::array<Export, 2> two_exports{
    {{.name = "disk",
      .description = "the first one",
      .size_bytes = 10 * gib,
      .flags = device_flags,
      .block_bytes_min = 512,
      .block_bytes_preferred = 4096,
      .payload_bytes_max = 1024 * 1024,
      .reports_allocation = true},
     {.name = "plain", .description = "", .size_bytes = 4097, .flags = wire::read_only}}};

constexpr Negotiation::Options with(TlsMode tls) { return {.exports = two_exports, .tls = tls}; }
constexpr Negotiation::Options plain_server = {.exports = two_exports};

Handshake talk(const Script& options_of_client) {
    return shake_hands(plain_server, hello().text(options_of_client.str()));
}

template <typename T>
T as(const std::string& data) {
    EXPECT_EQ(data.size(), sizeof(T));
    return read_as<T>(std::as_bytes(std::span(data)));
}

// ---- Handshake flags ----

TEST(NbdGreeting, SpeaksFirstAndOffersFixedNewstyleWithoutZeroes) {
    const Handshake handshake = shake_hands(plain_server, Script());
    const auto greeting = as<wire::Greeting>(handshake.output);
    EXPECT_EQ(greeting.magic, wire::greeting_magic);
    EXPECT_EQ(greeting.option_magic, wire::option_magic);
    EXPECT_EQ(greeting.flags, 3);
    EXPECT_TRUE(handshake.events.empty());
}

TEST(NbdGreeting, DropsAClientWithAnUnknownFlag) {
    const Handshake handshake = shake_hands(plain_server, hello(4));
    EXPECT_TRUE(handshake.ended_with(Event::close));
    EXPECT_FALSE(handshake.reason.empty());
}

TEST(NbdGreeting, LetsAClientWithoutFixedNewstyleUseExportNameOnly) {
    const Handshake name =
        shake_hands(plain_server, hello(0).option(wire::option_export_name, Script("disk")));
    EXPECT_TRUE(name.ended_with(Event::transmission));
    const Handshake list = shake_hands(plain_server, hello(0).option(wire::option_list));
    EXPECT_TRUE(list.ended_with(Event::close));
    EXPECT_EQ(list.output.size(), sizeof(wire::Greeting));
}

// ---- Options ----

TEST(NbdOption, WithoutItsMagicNumberEndsTheConnection) {
    EXPECT_TRUE(talk(Script().fill(16, 'x')).ended_with(Event::close));
}

TEST(NbdOption, ThatIsUnknownIsDrainedAndRefusedAndTheNextOneWorks) {
    const Handshake handshake = talk(Script()
                                         .option(4, Script("withdrawn"))
                                         .option(4711, Script().fill(65536, 'x'))
                                         .option(wire::option_list));
    EXPECT_EQ(handshake.types(),
              (Types{wire::reply_error_unsupported, wire::reply_error_unsupported,
                     wire::reply_server, wire::reply_server, wire::reply_ack}));
}

TEST(NbdOption, LongerThanTheLimitEndsTheConnectionBeforeItsDataIsRead) {
    for (const u32 length : {option_bytes_max + 1, u32{0x80000000}, u32{0xffffffff}}) {
        for (const u32 option : {wire::option_export_name, wire::option_go, u32{4711}}) {
            Script script;
            script.put(wire::OptionHeader{.option = option, .length = length});
            const Handshake handshake = talk(script.text("data"));
            EXPECT_TRUE(handshake.ended_with(Event::close)) << option;
            EXPECT_EQ(handshake.left, 4u);
        }
    }
}

TEST(NbdOption, AfterAsManyAsASessionMayHaveEndsTheConnection) {
    Script script;
    for (u32 i = 0; i < options_max; ++i) script.option(4711);
    EXPECT_TRUE(talk(script).events.empty());
    EXPECT_TRUE(talk(script.option(4711)).ended_with(Event::close));
}

TEST(NbdOption, AbortIsAcknowledgedWhateverItsDataAndEndsTheConnection) {
    const Handshake handshake = talk(Script().option(wire::option_abort, Script("bye")));
    EXPECT_EQ(handshake.types(), Types{wire::reply_ack});
    EXPECT_EQ(handshake.events, std::vector{Event::close});
}

TEST(NbdOption, WithDataThatItDoesNotTakeIsInvalid) {
    for (const u32 option : {wire::option_list, wire::option_starttls,
                             wire::option_structured_reply, wire::option_extended_headers}) {
        const Handshake handshake = talk(Script().option(option, Script("x")));
        EXPECT_EQ(handshake.types(), Types{wire::reply_error_invalid}) << option;
    }
}

TEST(NbdOption, OfAServerThatShutsDownIsAnsweredWithShutdown) {
    Server server(plain_server, false);
    server.negotiation().shutdown_start();
    server.receive(hello().option(wire::option_list).option(wire::option_abort).bytes());
    const Handshake handshake = server.finish();
    EXPECT_EQ(handshake.types(), (Types{wire::reply_error_shutdown, wire::reply_ack}));
    EXPECT_TRUE(handshake.ended_with(Event::close));
}

TEST(NbdList, NamesEveryExportWithItsDescription) {
    const std::vector<Reply> replies = talk(Script().option(wire::option_list)).replies();
    ASSERT_EQ(replies.size(), 3u);
    EXPECT_EQ(replies[0].data, std::string("\0\0\0\4", 4) + "diskthe first one");
    EXPECT_EQ(replies[1].data, std::string("\0\0\0\5", 4) + "plain");
    EXPECT_EQ(replies[2].type, wire::reply_ack);
}

TEST(NbdList, OfTheLongestNamesFitsIntoAnOutputOfOneReply) {
    const std::string name(name_bytes_max, 'n');
    const std::string description(description_bytes_max, 'd');
    const std::vector<Export> exports(exports_max, {.name = name, .description = description});
    const Handshake handshake =
        shake_hands({.exports = exports}, hello().option(wire::option_list));
    ASSERT_EQ(handshake.types().size(), exports_max + 1);
    EXPECT_EQ(handshake.replies()[7].data.size(), 4u + name.size() + description.size());
}

// ---- EXPORT_NAME ----

TEST(NbdExportName, EntersTransmissionWithSizeAndFlags) {
    const Handshake handshake = talk(Script().option(wire::option_export_name, Script("disk")));
    EXPECT_EQ(handshake.events, std::vector{Event::transmission});
    const auto reply = as<wire::ExportNameReply>(handshake.output.substr(sizeof(wire::Greeting)));
    EXPECT_EQ(reply.size, 10 * gib);
    EXPECT_EQ(reply.flags, wire::has_flags | device_flags);
    EXPECT_EQ(handshake.agreement.block_bytes_min, 1u) << "it was not told of a larger one";
}

TEST(NbdExportName, PadsWithZeroesUnlessBothSidesAgreedNotTo) {
    const Script option = Script().option(wire::option_export_name, Script("disk"));
    const Handshake handshake =
        shake_hands(plain_server, hello(wire::handshake_fixed_newstyle).text(option.str()));
    EXPECT_EQ(handshake.output.substr(18 + 10), std::string(124, '\0'));
}

TEST(NbdExportName, ThatDoesNotExistOrIsTooLongEndsTheConnection) {
    for (const std::size_t length : {5u, 256u, 4096u, 4097u, 65536u}) {
        const Handshake handshake =
            talk(Script().option(wire::option_export_name, Script().fill(length, 'x')));
        EXPECT_TRUE(handshake.ended_with(Event::close)) << length;
        EXPECT_EQ(handshake.output.size(), sizeof(wire::Greeting));
    }
}

TEST(NbdExportName, IsNotForAClientWithExtendedHeaders) {
    EXPECT_TRUE(talk(Script()
                         .option(wire::option_extended_headers)
                         .option(wire::option_export_name, Script("disk")))
                    .ended_with(Event::close));
}

// ---- INFO and GO ----

TEST(NbdGo, AnswersExactlyAsInfoDoesAndThenEntersTransmission) {
    const Script data = choose("disk", {wire::info_block_size, wire::info_name, 999,
                                        wire::info_description, wire::info_name});
    const Handshake both =
        talk(Script().option(wire::option_info, data).option(wire::option_go, data));
    const std::vector<Reply> replies = both.replies();
    ASSERT_EQ(replies.size(), 10u);
    for (std::size_t i = 0; i < 5; ++i) {
        EXPECT_EQ(replies[i].option, wire::option_info);
        EXPECT_EQ(replies[i + 5].option, wire::option_go);
        EXPECT_EQ(replies[i].type, replies[i + 5].type);
        EXPECT_EQ(replies[i].data, replies[i + 5].data);
    }
    EXPECT_EQ(as<wire::InfoExport>(replies[0].data).size, 10 * gib);
    EXPECT_EQ(replies[1].data, std::string("\0\1", 2) + "disk");
    EXPECT_EQ(replies[2].data, std::string("\0\2", 2) + "the first one");
    const auto sizes = as<wire::InfoBlockSize>(replies[3].data);
    EXPECT_EQ(sizes.minimum, 512u);
    EXPECT_EQ(sizes.preferred, 4096u);
    EXPECT_EQ(sizes.payload_maximum, 1024u * 1024);
    EXPECT_EQ(replies[4].type, wire::reply_ack);
    EXPECT_EQ(both.events, std::vector{Event::transmission});
    EXPECT_EQ(both.agreement.block_bytes_min, 512u);
    EXPECT_EQ(both.agreement.payload_bytes_max, 1024u * 1024);
}

TEST(NbdGo, WithoutARequestForBlockSizesAdmitsSingleBytes) {
    // Asking in an INFO before is no promise to keep to it.
    const Handshake handshake =
        talk(Script()
                 .option(wire::option_info, choose("disk", {wire::info_block_size}))
                 .option(wire::option_go, choose("disk")));
    EXPECT_EQ(handshake.agreement.block_bytes_min, 1u);
}

TEST(NbdGo, LeavesWhatFollowsForTheTransmissionPhase) {
    const Handshake handshake =
        talk(Script().option(wire::option_go, choose("disk")).text("request"));
    EXPECT_EQ(handshake.events, std::vector{Event::transmission});
    EXPECT_EQ(handshake.left, 7u);
}

TEST(NbdGo, WithTheEmptyNameMeansTheFirstExport) {
    const Handshake handshake =
        talk(Script().option(wire::option_go, choose("", {wire::info_name})));
    EXPECT_EQ(handshake.replies()[1].data, std::string("\0\1", 2) + "disk");
    EXPECT_EQ(handshake.agreement.export_index, 0u);
    const Handshake nothing = shake_hands({}, hello().option(wire::option_go, choose("")));
    EXPECT_EQ(nothing.types(), Types{wire::reply_error_unknown});
}

TEST(NbdGo, WithANameThatDoesNotExistCanBeTriedAgain) {
    const Handshake handshake = talk(Script()
                                         .option(wire::option_go, choose("dis"))
                                         .option(wire::option_go, choose("disk2"))
                                         .option(wire::option_go, choose({"disk\0", 5}))
                                         .option(wire::option_go, choose("plain")));
    EXPECT_EQ(handshake.types(),
              (Types{wire::reply_error_unknown, wire::reply_error_unknown,
                     wire::reply_error_unknown, wire::reply_info, wire::reply_ack}));
    EXPECT_EQ(handshake.agreement.export_index, 1u);
    EXPECT_EQ(handshake.agreement.size_bytes, 4097u);
}

TEST(NbdGo, WithANameOfAnyLengthIsRefusedWithoutRepeatingIt) {
    for (const std::size_t length : {255u, 256u, 4096u, 4097u, 60000u}) {
        const std::string name(length, '%');
        const Handshake handshake = talk(Script().option(wire::option_go, choose(name)));
        EXPECT_EQ(handshake.types(),
                  Types{length <= 4096 ? wire::reply_error_unknown : wire::reply_error_invalid});
        EXPECT_EQ(handshake.output.find('%'), std::string::npos);
    }
}

TEST(NbdGo, WithLengthsThatDoNotAddUpIsInvalid) {
    const std::array<Script, 7> broken{
        Script(),
        Script().put(u32be{0xffffffff}).text("disk").put(u16be{0}),
        Script().put(u32be{0xfffffffc}).text("disk").put(u16be{0}),
        Script().put(u32be{6}).text("disk").put(u16be{0}),
        Script().put(u32be{4}).text("disk"),
        Script().put(u32be{4}).text("disk").put(u16be{2}).put(u16be{3}),
        Script().put(u32be{4}).text("disk").put(u16be{0}).put(u16be{3})};
    for (const Script& data : broken) {
        for (const u32 option : {wire::option_info, wire::option_go}) {
            const Handshake handshake = talk(Script().option(option, data));
            EXPECT_EQ(handshake.types(), Types{wire::reply_error_invalid});
        }
    }
}

// ---- Replies in chunks, and extended headers ----

TEST(NbdStructuredReply, OffersReadsWithoutFragments) {
    const Handshake handshake = talk(Script()
                                         .option(wire::option_structured_reply)
                                         .option(wire::option_structured_reply)
                                         .option(wire::option_go, choose("disk")));
    EXPECT_EQ(handshake.types(),
              (Types{wire::reply_ack, wire::reply_ack, wire::reply_info, wire::reply_ack}));
    EXPECT_EQ(handshake.agreement.style, ReplyStyle::structured);
    EXPECT_EQ(handshake.agreement.flags, wire::has_flags | device_flags | wire::send_df);
    EXPECT_FALSE(handshake.agreement.block_status);
}

TEST(NbdExtendedHeaders, TakePrecedenceOverStructuredReplies) {
    const Handshake handshake = talk(Script()
                                         .option(wire::option_structured_reply)
                                         .option(wire::option_extended_headers)
                                         .option(wire::option_structured_reply)
                                         .option(wire::option_go, choose("disk")));
    EXPECT_EQ(handshake.types(),
              (Types{wire::reply_ack, wire::reply_ack, wire::reply_error_extended_headers_required,
                     wire::reply_info, wire::reply_ack}));
    EXPECT_EQ(handshake.agreement.style, ReplyStyle::extended);
    EXPECT_EQ(handshake.agreement.flags & wire::block_status_payload, 0) << "no context selected";
}

TEST(NbdExtendedHeaders, OfferTheFilterOfBlockStatusToWhoSelectedAContext) {
    const Handshake handshake =
        talk(Script()
                 .option(wire::option_extended_headers)
                 .option(wire::option_set_meta_context, query("disk", {"base:allocation"}))
                 .option(wire::option_go, choose("disk")));
    EXPECT_NE(handshake.agreement.flags & wire::block_status_payload, 0);
    EXPECT_TRUE(handshake.agreement.block_status);
}

// ---- Metadata contexts ----

TEST(NbdMetaContext, IsListedForNoQueryTheWildcardAndItsName) {
    const std::string with_id_0 = std::string(4, '\0') + "base:allocation";
    for (const auto& queries : {query("disk", {}), query("disk", {"base:"}),
                                query("disk", {"x-y:z", "base:allocation", "base:"})}) {
        const Handshake handshake = talk(Script().option(wire::option_list_meta_context, queries));
        EXPECT_EQ(handshake.types(), (Types{wire::reply_meta_context, wire::reply_ack}));
        EXPECT_EQ(handshake.replies()[0].data, with_id_0);
    }
}

TEST(NbdMetaContext, OfAnotherNamespaceOrLeafIsIgnored) {
    for (const auto& queries : {query("disk", {"qemu:dirty-bitmap:x"}), query("disk", {"base:x"}),
                                query("disk", {""}), query("disk", {"base"})}) {
        for (const u32 option : {wire::option_list_meta_context, wire::option_set_meta_context}) {
            const Handshake handshake =
                talk(Script().option(wire::option_structured_reply).option(option, queries));
            EXPECT_EQ(handshake.types(), (Types{wire::reply_ack, wire::reply_ack}));
        }
    }
}

TEST(NbdMetaContext, IsSelectedByItsNameOnly) {
    const std::string with_our_id = std::string("\0\0\0\1", 4) + "base:allocation";
    const Script set = Script().option(wire::option_structured_reply);
    const Handshake named = talk(Script(set).option(
        wire::option_set_meta_context, query("disk", {"base:allocation", "base:allocation"})));
    EXPECT_EQ(named.types(), (Types{wire::reply_ack, wire::reply_meta_context, wire::reply_ack}));
    EXPECT_EQ(named.replies()[1].data, with_our_id);
    for (const auto& queries : {query("disk", {}), query("disk", {"base:"})}) {
        const Handshake none = talk(Script(set).option(wire::option_set_meta_context, queries));
        EXPECT_EQ(none.types(), (Types{wire::reply_ack, wire::reply_ack}));
    }
}

TEST(NbdMetaContext, NeedsRepliesInChunksToBeSelected) {
    const Handshake handshake =
        talk(Script().option(wire::option_set_meta_context, query("disk", {"base:allocation"})));
    EXPECT_EQ(handshake.types(), Types{wire::reply_error_invalid});
}

TEST(NbdMetaContext, OfAnUnknownExportIsUnknown) {
    const Handshake handshake =
        talk(Script()
                 .option(wire::option_structured_reply)
                 .option(wire::option_set_meta_context, query("no", {"base:allocation"}))
                 .option(wire::option_list_meta_context, query("no", {})));
    EXPECT_EQ(handshake.types(),
              (Types{wire::reply_ack, wire::reply_error_unknown, wire::reply_error_unknown}));
}

TEST(NbdMetaContext, CountsOnlyForTheExportItWasSelectedFor) {
    const Script start =
        Script()
            .option(wire::option_structured_reply)
            .option(wire::option_set_meta_context, query("disk", {"base:allocation"}));
    EXPECT_TRUE(talk(Script(start).option(wire::option_go, choose("disk"))).agreement.block_status);
    EXPECT_TRUE(talk(Script(start).option(wire::option_export_name, Script("disk")))
                    .agreement.block_status);
    EXPECT_FALSE(
        talk(Script(start).option(wire::option_go, choose("plain"))).agreement.block_status);
}

TEST(NbdMetaContext, IsForgottenByTheNextSelectionAlsoWhenThatFails) {
    const std::array<Script, 3> next{query("disk", {}), query("no", {"base:allocation"}),
                                     Script("?")};
    for (const Script& data : next) {
        const Handshake handshake =
            talk(Script()
                     .option(wire::option_structured_reply)
                     .option(wire::option_set_meta_context, query("disk", {"base:allocation"}))
                     .option(wire::option_set_meta_context, data)
                     .option(wire::option_go, choose("disk")));
        EXPECT_TRUE(handshake.ended_with(Event::transmission));
        EXPECT_FALSE(handshake.agreement.block_status);
    }
}

TEST(NbdMetaContext, WithLengthsThatDoNotAddUpIsInvalid) {
    const std::string long_text(4097, 'x');
    const std::array<Script, 8> broken{
        Script("abc"),
        Script().put(u32be{0xffffffff}).text("disk").put(u32be{0}),
        Script().put(u32be{4}).text("disk"),
        Script().put(u32be{4}).text("disk").put(u32be{0xffffffff}),
        Script().put(u32be{4}).text("disk").put(u32be{1}).put(u32be{0xffffffff}).text("base:"),
        Script().put(u32be{4}).text("disk").put(u32be{1}).put(u32be{6}).text("base:"),
        query("disk", {"base:"}).text("x"),
        query("disk", {long_text})};
    for (const Script& data : broken) {
        for (const u32 option : {wire::option_list_meta_context, wire::option_set_meta_context}) {
            const Handshake handshake =
                talk(Script().option(wire::option_structured_reply).option(option, data));
            EXPECT_EQ(handshake.types(), (Types{wire::reply_ack, wire::reply_error_invalid}));
        }
    }
}

// ---- TLS ----

TEST(NbdTls, ThatIsOffIsRefusedByPolicy) {
    const Handshake handshake =
        talk(Script().option(wire::option_starttls).option(wire::option_go, choose("disk")));
    EXPECT_EQ(handshake.types(),
              (Types{wire::reply_error_policy, wire::reply_info, wire::reply_ack}));
}

TEST(NbdTls, ThatIsRequiredTellsNothingBefore) {
    Script script = hello();
    Types expected;
    for (const u32 option : {wire::option_list, wire::option_info, wire::option_go,
                             wire::option_structured_reply, wire::option_list_meta_context,
                             wire::option_set_meta_context, wire::option_extended_headers, 4711u}) {
        script.option(option, choose("disk"));
        expected.push_back(wire::reply_error_tls_required);
    }
    const Handshake handshake = shake_hands(with(TlsMode::required), script);
    EXPECT_EQ(handshake.types(), expected);
    // Not even whether the export exists.
    const Handshake other =
        shake_hands(with(TlsMode::required), hello().option(wire::option_go, choose("nothing")));
    EXPECT_EQ(other.types(), Types{wire::reply_error_tls_required});
    EXPECT_EQ(other.replies()[0].data, handshake.replies()[2].data);
}

TEST(NbdTls, ThatIsRequiredEndsAnExportNameWithoutItAndLetsAbortGo) {
    const Handshake name = shake_hands(with(TlsMode::required),
                                       hello().option(wire::option_export_name, Script("disk")));
    EXPECT_TRUE(name.ended_with(Event::close));
    EXPECT_EQ(name.output.size(), sizeof(wire::Greeting));
    const Handshake abort =
        shake_hands(with(TlsMode::required), hello().option(wire::option_abort));
    EXPECT_EQ(abort.types(), Types{wire::reply_ack});
}

TEST(NbdTls, IsStartedAfterItsAcknowledgementAndTheHandshakeGoesOn) {
    for (const TlsMode mode : {TlsMode::offered, TlsMode::required}) {
        const Handshake handshake =
            shake_hands(with(mode), {hello().option(wire::option_starttls),
                                     Script().option(wire::option_go, choose("disk"))});
        EXPECT_EQ(handshake.types(), (Types{wire::reply_ack, wire::reply_info, wire::reply_ack}));
        EXPECT_EQ(handshake.events, (std::vector{Event::start_tls, Event::transmission}));
    }
}

TEST(NbdTls, ThrowsAwayWhateverCameInPlaintextBehindItsOption) {
    const Handshake handshake =
        shake_hands(with(TlsMode::required), {hello()
                                                  .option(wire::option_starttls)
                                                  .option(wire::option_structured_reply)
                                                  .option(wire::option_go, choose("disk")),
                                              Script().option(wire::option_list)});
    EXPECT_EQ(handshake.types(),
              (Types{wire::reply_ack, wire::reply_server, wire::reply_server, wire::reply_ack}));
    EXPECT_EQ(handshake.events, std::vector{Event::start_tls});
    EXPECT_EQ(handshake.left, 0u) << "the owner must not offer these bytes again";
}

TEST(NbdTls, ForgetsHalfAnOptionThatCameInPlaintextBehindIt) {
    const std::string half = Script().option(wire::option_list).str().substr(0, 7);
    const Handshake handshake = shake_hands(
        with(TlsMode::offered),
        {hello().option(wire::option_starttls).text(half), Script().option(wire::option_abort)});
    EXPECT_EQ(handshake.types(), (Types{wire::reply_ack, wire::reply_ack}));
}

TEST(NbdTls, ForgetsAllThatWasNegotiatedBefore) {
    for (const u32 style : {wire::option_structured_reply, wire::option_extended_headers}) {
        const Handshake handshake = shake_hands(
            with(TlsMode::offered),
            {hello()
                 .option(style)
                 .option(wire::option_set_meta_context, query("disk", {"base:allocation"}))
                 .option(wire::option_starttls),
             Script().option(wire::option_go, choose("disk"))});
        EXPECT_TRUE(handshake.ended_with(Event::transmission));
        EXPECT_EQ(handshake.agreement.style, ReplyStyle::simple);
        EXPECT_FALSE(handshake.agreement.block_status);
        EXPECT_EQ(handshake.agreement.flags & wire::send_df, 0);
    }
}

TEST(NbdTls, CannotBeStartedTwice) {
    const Handshake handshake = shake_hands(
        with(TlsMode::required),
        {hello().option(wire::option_starttls), Script().option(wire::option_starttls)});
    EXPECT_EQ(handshake.types(), (Types{wire::reply_ack, wire::reply_error_invalid}));
}

TEST(NbdTls, CountsTheOptionsBeforeItToo) {
    Script before = hello();
    for (u32 i = 1; i < options_max; ++i) before.option(4711);
    before.option(wire::option_starttls);
    const Handshake handshake =
        shake_hands(with(TlsMode::offered), {before, Script().option(wire::option_list)});
    EXPECT_EQ(handshake.events, (std::vector{Event::start_tls, Event::close}));
}

}  // namespace
}  // namespace ringloop::nbd
