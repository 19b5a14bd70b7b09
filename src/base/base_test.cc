#include <gtest/gtest.h>

#include "base/errno.h"
#include "base/histogram.h"
#include "base/list.h"
#include "base/range.h"
#include "base/size.h"
#include "base/unique_fd.h"

namespace ringloop {
namespace {

TEST(SizeTest, ReadsWhatLosetupReads) {
    struct Row {
        const char* text;
        u64 bytes;
    };
    const Row rows[] = {
        {"0", 0},
        {"512", 512},
        {"1K", kib},
        {"1k", kib},
        {"1KiB", kib},
        {"1KB", 1000},
        {"3M", 3 * mib},
        {"2MB", 2'000'000},
        {"1G", gib},
        {"1T", gib * 1024},
        {"0x1000", 4096},
        {"15E", 15 * (gib << 30)},
        {"18446744073709551615", ~u64{0}},
    };
    for (const Row& row : rows) {
        const auto parsed = parse_size(row.text, "--offset");
        ASSERT_TRUE(parsed.has_value()) << row.text;
        EXPECT_EQ(*parsed, row.bytes) << row.text;
    }
}

TEST(SizeTest, RefusesWhatIsNoSizeAndNamesTheOption) {
    for (const char* text : {"", "K", "-1", "1.5M", "1MiBs", "12 K", "1Q", "0x", "1iB", "MiB"}) {
        const auto parsed = parse_size(text, "--offset");
        ASSERT_FALSE(parsed.has_value()) << text;
        EXPECT_NE(parsed.error().message.find("--offset"), std::string::npos);
    }
}

TEST(SizeTest, RefusesWhatDoesNotFitInsteadOfWrapping) {
    EXPECT_FALSE(parse_size("18446744073709551616", "x").has_value());
    EXPECT_FALSE(parse_size("16E", "x").has_value());
    EXPECT_FALSE(parse_size("99999999999999T", "x").has_value());
}

TEST(SizeTest, FormatsForPeople) {
    EXPECT_EQ(format_size(511), "511 B");
    EXPECT_EQ(format_size(1536), "1.5 KiB");
    EXPECT_EQ(format_size(64 * mib), "64 MiB");
}

TEST(RangeTest, FitsNeverWraps) {
    EXPECT_TRUE((ByteRange{0, 100}.fits(100)));
    EXPECT_TRUE((ByteRange{100, 0}.fits(100)));
    EXPECT_FALSE((ByteRange{1, 100}.fits(100)));
    EXPECT_FALSE((ByteRange{~u64{0}, 2}.fits(100)));
    EXPECT_FALSE((ByteRange{2, ~u64{0}}.fits(100)));
}

TEST(HistogramTest, EveryValueLiesWithinItsBucket) {
    for (u64 value = 0; value < 100'000; value += 7) {
        const u32 bucket = histogram_bucket(value);
        EXPECT_LE(value, histogram_bucket_max(bucket));
        EXPECT_TRUE(bucket == 0 || value > histogram_bucket_max(bucket - 1)) << value;
    }
    EXPECT_EQ(histogram_bucket(~u64{0}), histogram_buckets - 1);
}

TEST(HistogramTest, QuantilesAreAtMostAnEighthAboveTheTruth) {
    Histogram histogram;
    for (u64 value = 1; value <= 1000; ++value) histogram.record(value * 1000);
    HistogramView view;
    histogram.add_to(view);
    EXPECT_EQ(view.total(), 1000u);
    EXPECT_EQ(view.max, 1'000'000u);
    const u64 median = view.quantile(0.5);
    EXPECT_GE(median, 500'000u);
    EXPECT_LE(median, 562'500u);
    EXPECT_EQ(view.quantile(1.0), 1'000'000u);
}

TEST(HistogramTest, AnEmptyOneHasNoQuantiles) { EXPECT_EQ(HistogramView{}.quantile(0.99), 0u); }

TEST(HistogramTest, ViewsOfSeveralQueuesAddUp) {
    Histogram first;
    Histogram second;
    first.record(10);
    second.record(1'000'000);
    HistogramView view;
    first.add_to(view);
    second.add_to(view);
    EXPECT_EQ(view.total(), 2u);
    EXPECT_EQ(view.max, 1'000'000u);
}

struct Node {
    int value = 0;
    Node* next = nullptr;
};

TEST(FifoTest, KeepsOrderAndTakesBackAtTheFront) {
    Node one{1};
    Node two{2};
    Fifo<Node, &Node::next> fifo;
    fifo.push(one);
    fifo.push(two);
    EXPECT_EQ(fifo.pop()->value, 1);
    fifo.push_front(one);
    EXPECT_EQ(fifo.pop()->value, 1);
    EXPECT_EQ(fifo.pop()->value, 2);
    EXPECT_EQ(fifo.pop(), nullptr);
    fifo.push(one);
    EXPECT_EQ(fifo.front(), &one);
}

TEST(FifoDeathTest, RefusesAnElementThatIsOnAListAlready) {
    Node one{1};
    Node two{2};
    Fifo<Node, &Node::next> fifo;
    fifo.push(one);
    fifo.push(two);
    EXPECT_DEATH(fifo.push(one), "broken invariant");
}

TEST(ErrnoTest, UnknownNumbersBecomeIo) {
    EXPECT_EQ(errno_from(ENOSPC), Errno::no_space);
    EXPECT_EQ(errno_from(0), Errno::ok);
    EXPECT_EQ(errno_from(99999), Errno::io);
}

}  // namespace
}  // namespace ringloop
