#include "frontend/nbd/reply.h"

#include <gtest/gtest.h>

#include <array>
#include <vector>

#include "frontend/nbd/test_client.h"

namespace ringloop::nbd {
namespace {

using test::Script;
using More = ReplyEncoder::More;
namespace wire = abi::nbd;

constexpr u64 cookie = 0x0123456789abcdef;

Command command(CommandType type) {
    return {.type = type,
            .cookie = cookie,
            .wire_offset = 8192,
            .range = {.offset = 8192, .length = 4096}};
}

// What `put` writes, in a buffer that has just the room that was promised.
template <typename Put>
std::string written(Put put, std::size_t room = reply_head_bytes_max) {
    std::vector<std::byte> storage(room);
    OutputBuffer output(storage);
    put(output);
    const Bytes bytes = output.pending();
    return {reinterpret_cast<const char*>(bytes.data()), bytes.size()};
}

Script structured_head(u16 flags, u16 type, u32 length) {
    return Script().put(
        wire::StructuredReply{.flags = flags, .type = type, .cookie = cookie, .length = length});
}
Script extended_head(u16 flags, u16 type, u64 length) {
    return Script().put(wire::ExtendedReply{
        .flags = flags, .type = type, .cookie = cookie, .offset = 8192, .length = length});
}

constexpr ReplyEncoder simple(ReplyStyle::simple);
constexpr ReplyEncoder structured(ReplyStyle::structured);
constexpr ReplyEncoder extended(ReplyStyle::extended);

TEST(NbdReply, OfSuccessEchoesTheCookie) {
    const Command write = command(CommandType::write);
    const auto by = [&](const ReplyEncoder& encoder) {
        return written([&](OutputBuffer& output) { encoder.success(write, output); });
    };
    EXPECT_EQ(by(simple), Script().put(wire::SimpleReply{.cookie = cookie}).str());
    EXPECT_EQ(by(structured), structured_head(wire::reply_flag_done, wire::chunk_none, 0).str());
    EXPECT_EQ(by(extended), extended_head(wire::reply_flag_done, wire::chunk_none, 0).str());
}

TEST(NbdReply, OfAnErrorCarriesItsTextInChunksOnly) {
    const Command read = command(CommandType::read);
    const auto by = [&](const ReplyEncoder& encoder) {
        return written([&](OutputBuffer& output) {
            encoder.error(read, wire::Error::enospc, "full", output);
        });
    };
    const Script body =
        Script().put(wire::ChunkError{.error = 28, .message_length = 4}).text("full");
    EXPECT_EQ(by(simple), Script().put(wire::SimpleReply{.error = 28, .cookie = cookie}).str());
    EXPECT_EQ(by(structured),
              structured_head(wire::reply_flag_done, wire::chunk_error, 10).text(body.str()).str());
    EXPECT_EQ(by(extended),
              extended_head(wire::reply_flag_done, wire::chunk_error, 10).text(body.str()).str());
}

TEST(NbdReply, OfAnErrorAtAPlaceNamesThePlaceBehindItsText) {
    const Command read = command(CommandType::read);
    const std::string text = written([&](OutputBuffer& output) {
        structured.error_at(read, wire::Error::eio, 8704, "bad", output);
    });
    EXPECT_EQ(text, structured_head(wire::reply_flag_done, wire::chunk_error_offset, 6 + 3 + 8)
                        .put(wire::ChunkError{.error = 5, .message_length = 3})
                        .text("bad")
                        .put(u64be{8704})
                        .str());
}

TEST(NbdReply, CutsALongTextAndFitsIntoThePromisedRoom) {
    const std::string message(100000, 'm');
    const Command read = command(CommandType::read);
    const std::string text = written([&](OutputBuffer& output) {
        extended.error_at(read, wire::Error::eio, 8192, message, output);
    });
    EXPECT_EQ(text.size(), reply_head_bytes_max);
}

TEST(NbdReply, OfDataInChunksCountsItsOwnOffsetIntoTheLength) {
    const Command read = command(CommandType::read);
    const ByteRange part{.offset = 9216, .length = 512};
    const auto by = [&](const ReplyEncoder& encoder, More more) {
        return written([&](OutputBuffer& output) { encoder.data(read, part, more, output); });
    };
    const std::string body = Script().put(wire::OffsetData{.offset = 9216}).str();
    EXPECT_EQ(by(structured, More::yes),
              structured_head(0, wire::chunk_offset_data, 520).text(body).str());
    EXPECT_EQ(by(extended, More::no),
              extended_head(wire::reply_flag_done, wire::chunk_offset_data, 520).text(body).str());
}

TEST(NbdReply, OfDataWithoutChunksIsOneHeadForAllOfIt) {
    const Command read = command(CommandType::read);
    const std::string text =
        written([&](OutputBuffer& output) { simple.data(read, read.range, More::no, output); });
    EXPECT_EQ(text, Script().put(wire::SimpleReply{.cookie = cookie}).str());
}

TEST(NbdReply, OfAHoleHasALengthOf32BitsInBothKindsOfChunks) {
    const Command read = command(CommandType::read);
    const auto by = [&](const ReplyEncoder& encoder) {
        return written(
            [&](OutputBuffer& output) { encoder.hole(read, read.range, More::yes, output); });
    };
    const std::string body = Script().put(wire::OffsetHole{.offset = 8192, .length = 4096}).str();
    EXPECT_EQ(by(structured), structured_head(0, wire::chunk_offset_hole, 12).text(body).str());
    EXPECT_EQ(by(extended), extended_head(0, wire::chunk_offset_hole, 12).text(body).str());
}

TEST(NbdReply, OfBlockStatusHasAsWideDescriptorsAsTheHeaders) {
    const Command status = command(CommandType::block_status);
    const std::array<Extent, 2> extents{{{1024, 0}, {3072, wire::state_hole | wire::state_zero}}};
    const auto by = [&](const ReplyEncoder& encoder) {
        return written([&](OutputBuffer& output) { encoder.block_status(status, extents, output); },
                       encoder.block_status_bytes(extents.size()));
    };
    EXPECT_EQ(by(structured), structured_head(1, wire::chunk_block_status, 4 + 2 * 8)
                                  .put(u32be{allocation_context_id})
                                  .put(wire::BlockDescriptor{.length = 1024, .flags = 0})
                                  .put(wire::BlockDescriptor{.length = 3072, .flags = 3})
                                  .str());
    EXPECT_EQ(by(extended), extended_head(1, wire::chunk_block_status_ext, 8 + 2 * 16)
                                .put(u32be{allocation_context_id})
                                .put(u32be{2})
                                .put(wire::BlockDescriptorExt{.length = 1024, .flags = 0})
                                .put(wire::BlockDescriptorExt{.length = 3072, .flags = 3})
                                .str());
}

TEST(NbdReply, OfBlockStatusWithAllItsExtentsFitsIntoThePromisedRoom) {
    EXPECT_EQ(extended.block_status_bytes(extents_max), block_status_bytes_max);
    EXPECT_LT(structured.block_status_bytes(extents_max), block_status_bytes_max);
}

TEST(NbdOutput, KeepsItsBytesInPlaceWhileTheyAreSent) {
    std::array<std::byte, 8> storage{};
    OutputBuffer output(storage);
    output.put(std::string_view("abcd"));
    const Bytes sending = output.pending();
    output.put(std::string_view("efgh"));
    EXPECT_EQ(sending.data(), output.pending().data());
    output.take(4);
    EXPECT_EQ(output.room(), 0u) << "its front is not used again before all was taken";
    output.take(4);
    EXPECT_EQ(output.room(), 8u);
}

TEST(NbdErrno, OfEveryErrnoIsOneThatTheProtocolHas) {
    using wire::Error;
    struct Row {
        Errno error;
        Error result;
    };
    constexpr std::array<Row, 17> table{{{Errno::ok, Error::none},
                                         {Errno::not_permitted, Error::eperm},
                                         {Errno::interrupted, Error::eio},
                                         {Errno::io, Error::eio},
                                         {Errno::again, Error::eio},
                                         {Errno::no_memory, Error::enomem},
                                         {Errno::invalid, Error::einval},
                                         {Errno::file_too_big, Error::enospc},
                                         {Errno::no_space, Error::enospc},
                                         {Errno::read_only, Error::eperm},
                                         {Errno::not_supported, Error::enotsup},
                                         {Errno::quota, Error::enospc},
                                         {Errno::stale, Error::eio},
                                         {Errno::timed_out, Error::eio},
                                         {Errno::remote_io, Error::eio},
                                         {Errno::cancelled, Error::eio},
                                         {Errno::shutdown, Error::eshutdown}}};
    for (const Row& row : table) {
        EXPECT_EQ(errno_on_wire(row.error), row.result) << describe(row.error);
    }
    // No value of the set is missing from the table above.
    u32 members = 0;
    for (i32 number = 0; number < 4096; ++number) {
        if (to_number(errno_from(number)) == number) ++members;
    }
    EXPECT_EQ(members, table.size());
}

TEST(NbdErrno, OfNotSupportedIsForFastZeroesOnly) {
    Command zeroes = command(CommandType::write_zeroes);
    EXPECT_EQ(error_for(zeroes, Errno::not_supported), wire::Error::einval);
    EXPECT_EQ(error_for(zeroes, Errno::no_space), wire::Error::enospc);
    zeroes.fast_zero = true;
    EXPECT_EQ(error_for(zeroes, Errno::not_supported), wire::Error::enotsup);
}

}  // namespace
}  // namespace ringloop::nbd
