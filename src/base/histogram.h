// Counters that one thread writes and any thread reads, and the latency histogram made of them.
//
// The data path may not take a lock, so statistics are relaxed atomics with a single writer: a
// reader sees each counter whole, and the set of them perhaps a few requests apart.
#pragma once

#include <array>
#include <atomic>
#include <bit>

#include "base/int.h"

namespace ringloop {

// One writer: load and store instead of an atomic add, which would cost a locked instruction.
class Counter {
public:
    void add(u64 amount) {
        value_.store(value_.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
    }
    void raise_to(u64 value) {
        if (value > get()) value_.store(value, std::memory_order_relaxed);
    }
    u64 get() const { return value_.load(std::memory_order_relaxed); }

private:
    std::atomic<u64> value_ = 0;
};

// The same for what goes up and down.
class Gauge {
public:
    void set(u64 value) { value_.store(value, std::memory_order_relaxed); }
    u64 get() const { return value_.load(std::memory_order_relaxed); }

private:
    std::atomic<u64> value_ = 0;
};

// Log-linear buckets: eight to an octave, so a quantile is at most 12.5 % above the truth.
// 1 ns to 2^42 ns (73 minutes); longer values count in the last bucket.
inline constexpr u32 histogram_sub_bits = 3;
inline constexpr u32 histogram_octaves = 40;
inline constexpr u32 histogram_buckets = (histogram_octaves + 1) << histogram_sub_bits;

// The index of the bucket that counts `value`.
constexpr u32 histogram_bucket(u64 value) {
    constexpr u64 sub = 1u << histogram_sub_bits;
    if (value < sub) return static_cast<u32>(value);
    const u32 octave = static_cast<u32>(std::bit_width(value)) - histogram_sub_bits;
    const u64 index = (u64{octave} << histogram_sub_bits) + ((value >> (octave - 1)) & (sub - 1));
    return index < histogram_buckets ? static_cast<u32>(index) : histogram_buckets - 1;
}

// The largest value that bucket `index` counts.
constexpr u64 histogram_bucket_max(u32 index) {
    constexpr u32 sub = 1u << histogram_sub_bits;
    if (index < sub) return index;
    const u32 octave = index >> histogram_sub_bits;
    const u64 base = u64{sub + (index & (sub - 1))} << (octave - 1);
    return base + (u64{1} << (octave - 1)) - 1;
}

// A copy of one or several histograms, for quantiles.
struct HistogramView {
    std::array<u64, histogram_buckets> counts{};
    u64 max = 0;

    u64 total() const;
    // `fraction` within (0, 1]; 0 when nothing was recorded. Never above `max`.
    u64 quantile(double fraction) const;
};

class Histogram {
public:
    // The writing thread only.
    void record(u64 value) {
        counts_[histogram_bucket(value)].add(1);
        max_.raise_to(value);
    }
    // Any thread. Adds into `view`, so that the histograms of several queues make one.
    void add_to(HistogramView& view) const;

private:
    std::array<Counter, histogram_buckets> counts_;
    Counter max_;
};

}  // namespace ringloop
