#include "base/histogram.h"

#include <algorithm>
#include <cmath>

namespace ringloop {

u64 HistogramView::total() const {
    u64 sum = 0;
    for (const u64 count : counts) sum += count;
    return sum;
}

u64 HistogramView::quantile(double fraction) const {
    const u64 all = total();
    if (all == 0) return 0;
    const auto rank = static_cast<u64>(std::ceil(fraction * static_cast<double>(all)));
    u64 seen = 0;
    for (u32 index = 0; index < histogram_buckets; ++index) {
        seen += counts[index];
        if (seen >= rank) return std::min(histogram_bucket_max(index), max);
    }
    return max;
}

void Histogram::add_to(HistogramView& view) const {
    for (u32 index = 0; index < histogram_buckets; ++index)
        view.counts[index] += counts_[index].get();
    view.max = std::max(view.max, max_.get());
}

}  // namespace ringloop
