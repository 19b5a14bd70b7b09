#include "frontend/ublk/wire.h"

#include <gtest/gtest.h>

#include <array>

namespace ringloop::ublk {
namespace {

namespace wire = abi::ublk;
using engine::Op;
using engine::Request;

constexpr u32 io_bytes_max = 512 * 1024;

Request decoded(u32 op_flags, u64 start_sector, u32 sector_count) {
    Request request;
    const Errno error =
        decode({.op_flags = op_flags, .sector_count = sector_count, .start_sector = start_sector},
               io_bytes_max, request);
    EXPECT_EQ(error, Errno::ok);
    return request;
}

Errno refusal(u32 op_flags, u64 start_sector, u32 sector_count) {
    Request request;
    return decode(
        {.op_flags = op_flags, .sector_count = sector_count, .start_sector = start_sector},
        io_bytes_max, request);
}

TEST(UblkDecode, KnowsEveryOperationThatWeAdvertise) {
    EXPECT_EQ(decoded(wire::op_read, 0, 8).op, Op::read);
    EXPECT_EQ(decoded(wire::op_write, 0, 8).op, Op::write);
    EXPECT_EQ(decoded(wire::op_flush, 0, 0).op, Op::flush);
    EXPECT_EQ(decoded(wire::op_discard, 0, 8).op, Op::discard);
    EXPECT_EQ(decoded(wire::op_write_zeroes, 0, 8).op, Op::write_zeroes);
}

TEST(UblkDecode, RefusesEveryOtherOperationInsteadOfGuessing) {
    for (u32 op = 0; op <= wire::op_mask; ++op) {
        const bool known = op <= wire::op_discard || op == wire::op_write_zeroes;
        EXPECT_EQ(refusal(op, 0, 8), known ? Errno::ok : Errno::not_supported) << op;
    }
}

TEST(UblkDecode, CountsInSectorsOf512Bytes) {
    EXPECT_EQ(decoded(wire::op_read, 3, 8).range, (ByteRange{1536, 4096}));
    EXPECT_EQ(decoded(wire::op_write, u64{1} << 40, 1).range, (ByteRange{u64{1} << 49, 512}));
}

TEST(UblkDecode, ReadsTheFlagsOfTheWholeWord) {
    EXPECT_TRUE(decoded(wire::op_write | 1u << 13, 0, 8).fua);
    EXPECT_TRUE(decoded(wire::op_write_zeroes | 1u << 15, 0, 8).no_unmap);
    // Where a server that shifts the word looks for them.
    EXPECT_FALSE(decoded(wire::op_write | 1u << 21, 0, 8).fua);
    EXPECT_FALSE(decoded(wire::op_write_zeroes | 1u << 23, 0, 8).no_unmap);
}

TEST(UblkDecode, LeavesNoFlagOfTheRequestBefore) {
    Request request;
    request.fua = true;
    request.no_unmap = true;
    ASSERT_EQ(decode({.op_flags = wire::op_write, .sector_count = 8}, io_bytes_max, request),
              Errno::ok);
    EXPECT_FALSE(request.fua);
    EXPECT_FALSE(request.no_unmap);
}

TEST(UblkDecode, IgnoresFlagsThatAreOnlyAdvice) {
    const u32 fail_fast_meta_swap = 0xfu << 8 | 1u << 16;
    EXPECT_EQ(decoded(wire::op_read | fail_fast_meta_swap, 0, 8).op, Op::read);
}

TEST(UblkDecode, GivesAFlushAnEmptyRangeWhateverItsPositionSays) {
    EXPECT_EQ(decoded(wire::op_flush, ~u64{0}, 0).range, ByteRange{});
}

TEST(UblkDecode, AcceptsDataUpToTheBufferAndNotASectorMore) {
    const u32 sectors = io_bytes_max >> 9;
    EXPECT_EQ(refusal(wire::op_write, 0, sectors), Errno::ok);
    EXPECT_EQ(refusal(wire::op_write, 0, sectors + 1), Errno::invalid);
    EXPECT_EQ(refusal(wire::op_read, 0, ~u32{0}), Errno::invalid);
    // These carry no data.
    EXPECT_EQ(decoded(wire::op_discard, 0, ~u32{0}).range.length, u64{~u32{0}} * 512);
}

TEST(UblkDecode, RefusesAPositionThatDoesNotFitInBytes) {
    EXPECT_EQ(refusal(wire::op_read, ~u64{0} >> 9, 1), Errno::ok);
    EXPECT_EQ(refusal(wire::op_read, (~u64{0} >> 9) + 1, 1), Errno::invalid);
}

TEST(UblkResult, OfDataIsItsBytesAndOfOthersZero) {
    struct Row {
        Op op;
        i32 result;
    };
    constexpr std::array<Row, engine::op_count> table{{{Op::read, 4096},
                                                       {Op::write, 4096},
                                                       {Op::flush, 0},
                                                       {Op::discard, 0},
                                                       {Op::write_zeroes, 0},
                                                       {Op::prefetch, 0}}};
    for (const Row& row : table) {
        Request request;
        request.op = row.op;
        request.range = {.offset = 0, .length = 4096};
        EXPECT_EQ(result_on_wire(request), row.result) << engine::name_of(row.op);
        request.result = Errno::no_space;
        EXPECT_EQ(result_on_wire(request), -ENOSPC) << engine::name_of(row.op);
    }
}

TEST(UblkResult, OfEveryErrnoIsOneThatTheBlockLayerUnderstands) {
    struct Row {
        Errno error;
        i32 result;
    };
    constexpr std::array<Row, 17> table{{{Errno::ok, 0},
                                         {Errno::not_permitted, -EIO},
                                         {Errno::interrupted, -EIO},
                                         {Errno::io, -EIO},
                                         {Errno::again, -EIO},
                                         {Errno::no_memory, -ENOMEM},
                                         {Errno::invalid, -EINVAL},
                                         {Errno::file_too_big, -ENOSPC},
                                         {Errno::no_space, -ENOSPC},
                                         {Errno::read_only, -EIO},
                                         {Errno::not_supported, -EOPNOTSUPP},
                                         {Errno::quota, -ENOSPC},
                                         {Errno::stale, -EIO},
                                         {Errno::timed_out, -ETIMEDOUT},
                                         {Errno::remote_io, -EREMOTEIO},
                                         {Errno::cancelled, -EIO},
                                         {Errno::shutdown, -EIO}}};
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

}  // namespace
}  // namespace ringloop::ublk
