#include "sim/oracle.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>

namespace ringloop::sim {
namespace {

constexpr u64 words = sector_bytes / sizeof(u64);
using Content = std::array<u64, words>;

// Different in each word, so that a piece that moved within its sector is noticed.
constexpr u64 word_of(u64 stamp, u64 index) {
    return stamp == 0 ? 0 : stamp ^ (index * 0x9e3779b97f4a7c15);
}

Content load(const std::byte* data) {
    Content content;
    std::memcpy(content.data(), data, sector_bytes);
    return content;
}

bool is_whole(const Content& content, u64 stamp) {
    u64 difference = 0;
    for (u64 i = 0; i < words; ++i) difference |= content[i] ^ word_of(stamp, i);
    return difference == 0;
}

void stamp_sector(std::byte* data, u64 stamp) {
    Content content;
    for (u64 i = 0; i < words; ++i) content[i] = word_of(stamp, i);
    std::memcpy(data, content.data(), sector_bytes);
}

bool byte_matches(u64 word, u64 other, u32 byte) {
    return ((word ^ other) >> (8 * byte) & 0xff) == 0;
}

}  // namespace

Oracle::Oracle(Disk& disk, ByteRange device, Prng& prng, Trace& trace, const Timeline& timeline)
    : disk_(disk),
      device_(device),
      prng_(prng),
      trace_(trace),
      timeline_(timeline),
      sectors_(device.length / sector_bytes) {
    for (Versions& versions : sectors_) {
        versions.push_back({.start = 1, .end = 1, .ok = true, .durable = true});
    }
}

bool Oracle::changes(const Job& job) {
    using engine::Op;
    return job.op == Op::write || job.op == Op::write_zeroes || job.op == Op::discard;
}

// Of a write that ends behind the device the part before that may happen, as of any that fails: the
// kernel's nbd driver negotiates no size, and a long write goes piece by piece.
u64 Oracle::end_of(const Job& job) const { return std::min(job.range.end(), device_.length); }

void Oracle::sent(Job& job) {
    job.started = ++order_;
    job.stamp = 0;
    job.data.assign(
        job.op == engine::Op::read || job.op == engine::Op::write ? job.range.length : 0,
        std::byte{0xa5});
    if (job.op == engine::Op::read) readers_.insert(job.started);
    if (job.op == engine::Op::write) {
        job.stamp = prng_.next() | 1;
        for (u64 at = 0; at < job.range.length; at += sector_bytes) {
            stamp_sector(&job.data[at], job.stamp);
        }
    }
    u8 detail = static_cast<u8>(job.op);
    if (job.fua) detail |= trace_fua;
    if (job.no_unmap) detail |= trace_no_unmap;
    trace_.add({.at_ns = timeline_.now_ns(),
                .what = What::sent,
                .detail = detail,
                .number = job.number,
                .range = job.range});
    if (!changes(job)) return;
    for (u64 at = job.range.offset; at < end_of(job); at += sector_bytes) {
        Versions& versions = sectors_[at / sector_bytes];
        settle(versions);
        versions.push_back({.job = job.number, .stamp = job.stamp, .start = job.started});
    }
}

void Oracle::answered(Job& job, i32 error) {
    ++order_;
    ++answers_;
    trace_.add({.at_ns = timeline_.now_ns(),
                .what = What::answered,
                .detail = static_cast<u8>(job.op),
                .number = job.number,
                .range = job.range,
                .value = error});
    if (error == EAGAIN || error == EINTR) {
        wrong(job.range, fmt::format("job {} was answered with {}, which no client knows what to "
                                     "do with",
                                     job.number, describe(errno_from(error))));
    }
    if (job.beyond) {
        if (error == 0) {
            wrong(job.range, fmt::format("job {} ends behind the device and was done", job.number));
        }
        if (job.op == engine::Op::read) readers_.erase(job.started);
        if (changes(job)) note(job, false);
        return;
    }
    // Whatever the file system lacks, the server finds another way; only a discard may do nothing.
    if (error == EOPNOTSUPP && job.op != engine::Op::discard) {
        wrong(job.range, fmt::format("job {} was answered with EOPNOTSUPP", job.number));
    }
    const bool ok = error == 0;
    if (ok && job.op == engine::Op::read) read_check(job);
    if (job.op == engine::Op::read) readers_.erase(job.started);
    if (ok && job.op == engine::Op::flush) stable_ = std::max(stable_, job.started);
    if (ok && job.op == engine::Op::write_zeroes && job.no_unmap) allocation_check(job);
    if (changes(job)) note(job, ok && job.op != engine::Op::discard);
}

void Oracle::lost(Job& job) {
    ++order_;
    trace_.add({.at_ns = timeline_.now_ns(), .what = What::lost, .number = job.number});
    if (job.op == engine::Op::read) readers_.erase(job.started);
    if (changes(job)) note(job, false);
}

// `ok`: it has happened, whole and exactly.
void Oracle::note(Job& job, bool ok) {
    for (u64 at = job.range.offset; at < end_of(job); at += sector_bytes) {
        Versions& versions = sectors_[at / sector_bytes];
        for (Version& version : versions) {
            if (version.job == job.number && version.end == 0) {
                version.end = order_;
                version.ok = ok;
                version.durable = ok && job.fua;
            } else if (ok && version.end != 0 && version.end < job.started &&
                       version.removed == 0) {
                version.removed = order_;
            }
        }
        settle(versions);
    }
}

// Forgets what neither a reader nor a power cut can bring back.
void Oracle::settle(Versions& versions) {
    if (versions.size() == 1) return;
    u64 durable_start = 0;  // of the durable version that began last
    for (Version& by : versions) {
        if (by.ok && by.end < stable_) by.durable = true;
        if (by.durable) durable_start = std::max(durable_start, by.start);
    }
    const u64 oldest_reader = readers_.empty() ? order_ : *readers_.begin();
    std::erase_if(versions, [&](Version& version) {
        version.gone = version.gone || (version.end != 0 && version.end < durable_start);
        return version.gone && version.removed != 0 && version.removed <= oldest_reader;
    });
    ASSERT(!versions.empty());
}

// Whether each byte is one that a version has there. `since`: when the reader began.
bool Oracle::explains(const Versions& versions, const std::byte* data, u64 since,
                      bool after_cut) const {
    const Content content = load(data);
    std::vector<u64> stamps;
    for (const Version& version : versions) {
        const bool possible =
            after_cut ? !version.gone : version.removed == 0 || version.removed > since;
        if (!possible) continue;
        if (is_whole(content, version.stamp)) return true;
        stamps.push_back(version.stamp);
    }
    for (u64 i = 0; i < words; ++i) {
        for (u32 byte = 0; byte < 8; ++byte) {
            const bool known = std::ranges::any_of(stamps, [&](u64 stamp) {
                return byte_matches(content[i], word_of(stamp, i), byte);
            });
            if (!known) return false;
        }
    }
    return true;
}

void Oracle::read_check(const Job& job) {
    for (u64 at = 0; at < job.range.length; at += sector_bytes) {
        const u64 offset = job.range.offset + at;
        const Versions& versions = sectors_[offset / sector_bytes];
        if (explains(versions, &job.data[at], job.started, false)) continue;
        wrong({offset, sector_bytes},
              fmt::format("job {} has read at {} what nobody wrote there: {:x}; possible: {}",
                          job.number, offset, load(&job.data[at])[0], candidates(versions)));
        return;
    }
}

// Unless a discard may have come after it.
void Oracle::allocation_check(const Job& job) {
    for (u64 at = job.range.offset; at < job.range.end(); at += sector_bytes) {
        const Versions& versions = sectors_[at / sector_bytes];
        const bool disturbed = std::ranges::any_of(versions, [&](const Version& version) {
            return version.job != job.number && version.stamp == 0 && version.job != 0 &&
                   (version.end == 0 || version.end > job.started);
        });
        if (disturbed) return;
    }
    const ByteRange whole{align_up(job.range.offset, page_bytes),
                          align_down(job.range.end(), page_bytes)};
    if (whole.offset >= whole.length) return;
    const ByteRange pages{device_.offset + whole.offset, whole.length - whole.offset};
    if (device_.offset % page_bytes == 0 && !disk_.allocated(pages)) {
        wrong(job.range, fmt::format("job {} was to keep its blocks allocated", job.number));
    }
}

void Oracle::power_cut() {
    ++order_;
    readers_.clear();
    for (u64 sector = 0; sector < sectors_.size(); ++sector) {
        Versions& versions = sectors_[sector];
        settle(versions);
        const std::byte* data = disk_.live(device_.offset + sector * sector_bytes);
        if (!explains(versions, data, 0, true)) {
            wrong({sector * sector_bytes, sector_bytes},
                  fmt::format("the power cut left at {} what was to be superseded for good: {:x}; "
                              "possible: {}",
                              sector * sector_bytes, load(data)[0], candidates(versions)));
            return;
        }
        collapse(versions, data);
    }
}

// It is known now what the sector has, and that it stays.
void Oracle::collapse(Versions& versions, const std::byte* data) {
    const Content content = load(data);
    for (const Version& version : versions) {
        if (!is_whole(content, version.stamp)) continue;
        const Version only{
            .stamp = version.stamp, .start = order_, .end = order_, .ok = true, .durable = true};
        versions.assign(1, only);
        return;
    }
    // A mixture of several, which it remains until somebody writes.
    std::erase_if(versions, [](const Version& version) { return version.gone; });
    for (Version& version : versions) {
        version.end = order_;
        version.removed = 0;
        version.ok = version.durable = false;
    }
}

void Oracle::truncated(u64 device_bytes) {
    ++order_;
    for (u64 sector = device_bytes / sector_bytes; sector < sectors_.size(); ++sector) {
        sectors_[sector].push_back({.start = order_, .end = order_});
    }
}

void Oracle::check_all(const char* when) {
    for (u64 sector = 0; sector < sectors_.size(); ++sector) {
        const std::byte* data = disk_.live(device_.offset + sector * sector_bytes);
        if (explains(sectors_[sector], data, order_ + 1, false)) continue;
        wrong({sector * sector_bytes, sector_bytes},
              fmt::format("{}, the image has at {} what it should not: {:x}; possible: {}", when,
                          sector * sector_bytes, load(data)[0], candidates(sectors_[sector])));
        return;
    }
}

std::string Oracle::candidates(const Versions& versions) const {
    std::string text;
    for (const Version& version : versions) {
        text +=
            fmt::format("{}job {} ({:x}, {}{}{})", text.empty() ? "" : ", ", version.job,
                        word_of(version.stamp, 0),
                        version.end == 0 ? "in flight"
                        : version.ok     ? "done"
                                         : "undecided",
                        version.removed ? ", superseded" : "", version.durable ? ", durable" : "");
    }
    return text;
}

void Oracle::wrong(ByteRange range, std::string text) {
    if (!violation_.empty()) return;
    violation_ = std::move(text);
    wrong_range_ = range;
    trace_.add({.at_ns = timeline_.now_ns(), .what = What::wrong, .range = range});
}

}  // namespace ringloop::sim
