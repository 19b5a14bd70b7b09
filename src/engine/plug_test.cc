#include "engine/plug.h"

#include <gtest/gtest.h>

#include <vector>

#include "sim/device_under_test.h"

namespace ringloop::engine {
namespace {

class PlugTest : public ::testing::Test {
protected:
    PlugTest() : pool_(128), plug_(pool_, stats_), requests_(128) {}

    Request& add(Op op, u64 offset, u64 length) {
        Request& request = requests_[used_++];
        request.op = op;
        request.range = {offset, length};
        plug_.add(request);
        return request;
    }

    // The ranges that would reach the backing, in order.
    std::vector<ByteRange> unplug() {
        std::vector<ByteRange> ranges;
        TransferList transfers = plug_.unplug();
        while (Transfer* transfer = transfers.pop()) {
            ranges.push_back(transfer->range);
            counts_.push_back(transfer->request_count);
            while (Request* request = transfer->requests.pop()) order_.push_back(request);
            pool_.give_back(*transfer);
        }
        return ranges;
    }

    TransferPool pool_;
    ShardStats stats_;
    Plug plug_;
    std::vector<sim::TestRequest> requests_;
    std::size_t used_ = 0;
    std::vector<u32> counts_;
    std::vector<Request*> order_;
};

TEST_F(PlugTest, JoinsSequentialWritesIntoOneTransfer) {
    for (u64 i = 0; i < 8; ++i) add(Op::write, i * 4096, 4096);
    EXPECT_EQ(unplug(), (std::vector<ByteRange>{{0, 8 * 4096}}));
    EXPECT_EQ(stats_.merged.get(), 7u);
}

TEST_F(PlugTest, JoinsAtTheFrontAndKeepsRequestsInAddressOrder) {
    Request& second = add(Op::read, 4096, 4096);
    Request& first = add(Op::read, 0, 4096);
    EXPECT_EQ(unplug(), (std::vector<ByteRange>{{0, 8192}}));
    EXPECT_EQ(order_, (std::vector<Request*>{&first, &second}));
}

TEST_F(PlugTest, KeepsTwoInterleavedStreamsApartAndMergesEach) {
    for (u64 i = 0; i < 4; ++i) {
        add(Op::read, i * 4096, 4096);
        add(Op::read, mib + i * 4096, 4096);
    }
    EXPECT_EQ(unplug(), (std::vector<ByteRange>{{0, 16384}, {mib, 16384}}));
}

TEST_F(PlugTest, NeverJoinsAReadWithAWrite) {
    add(Op::write, 0, 4096);
    add(Op::read, 4096, 4096);
    EXPECT_EQ(unplug().size(), 2u);
}

TEST_F(PlugTest, NeverJoinsAcrossCgroups) {
    Request& first = add(Op::write, 0, 4096);
    Request& second = requests_[used_++];
    second.op = Op::write;
    second.range = {4096, 4096};
    second.cgroup = first.cgroup + 1;
    plug_.add(second);
    EXPECT_EQ(unplug().size(), 2u);
}

TEST_F(PlugTest, LeavesFuaWritesAlone) {
    add(Op::write, 0, 4096);
    Request& fua = requests_[used_++];
    fua.op = Op::write;
    fua.fua = true;
    fua.range = {4096, 4096};
    plug_.add(fua);
    add(Op::write, 8192, 4096);
    EXPECT_EQ(unplug().size(), 3u);
}

TEST_F(PlugTest, LeavesDiscardsAndZeroesAlone) {
    add(Op::discard, 0, 4096);
    add(Op::discard, 4096, 4096);
    add(Op::write_zeroes, 8192, 4096);
    EXPECT_EQ(unplug().size(), 3u);
}

TEST_F(PlugTest, StopsAtTheLargestNumberOfRequests) {
    for (u64 i = 0; i <= merge_requests_max; ++i) add(Op::write, i * 512, 512);
    unplug();
    EXPECT_EQ(counts_, (std::vector<u32>{merge_requests_max, 1}));
}

TEST_F(PlugTest, StopsAtTheLargestNumberOfBytes) {
    add(Op::write, 0, mib);
    add(Op::write, mib, mib);
    EXPECT_EQ(unplug().size(), 2u);
}

TEST_F(PlugTest, SharesOneSyncAmongTheFlushesOfAPass) {
    add(Op::flush, 0, 0);
    add(Op::write, 0, 4096);
    add(Op::flush, 0, 0);
    EXPECT_EQ(unplug().size(), 2u);
    EXPECT_EQ(counts_, (std::vector<u32>{2, 1}));
}

TEST_F(PlugTest, NeverMovesAWriteBeforeAFlushThatArrivedFirst) {
    add(Op::write, 0, 4096);
    add(Op::flush, 0, 0);
    add(Op::write, 4096, 4096);
    EXPECT_EQ(unplug(), (std::vector<ByteRange>{{0, 4096}, {0, 0}, {4096, 4096}}));
}

TEST_F(PlugTest, NeverMovesARequestBeforeOneThatItOverlaps) {
    add(Op::write, 0, 4096);
    add(Op::write, 2048, 4096);
    add(Op::write, 4096, 4096);
    EXPECT_EQ(unplug().size(), 3u);
}

TEST_F(PlugTest, ForgetsItsNeighboursWhenUnplugged) {
    add(Op::write, 0, 4096);
    EXPECT_EQ(unplug().size(), 1u);
    add(Op::write, 4096, 4096);
    EXPECT_EQ(unplug().size(), 1u);
}

}  // namespace
}  // namespace ringloop::engine
