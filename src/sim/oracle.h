// Who knows, for each sector of 512 bytes, what a read may return now and what a power cut may
// leave.
//
// A sector has versions: what was written to it by whom, from when to when in one order of all
// events. A write that was answered supersedes every version that was answered before it was sent;
// a write that failed, or was lost, supersedes nothing and may have happened in any part. A flush
// that was answered makes every write durable that had been answered before the flush was sent, and
// a FUA write makes itself so: then a power cut may not bring back what they superseded.
#pragma once

#include <set>
#include <string>
#include <vector>

#include "sim/disk.h"
#include "sim/port.h"

namespace ringloop::sim {

class Oracle {
public:
    // `device`: the part of the disk's image that the device is.
    Oracle(Disk& disk, ByteRange device, Prng& prng, Trace& trace, const Timeline& timeline);

    // Before the job is sent: makes its data and notes it.
    void sent(Job& job);
    void answered(Job& job, i32 error);
    void lost(Job& job);

    // The power failed, nothing is in flight: looks at what the disk has kept.
    void power_cut();
    // The image was cut; what lies behind may read as zeroes.
    void truncated(u64 device_bytes);
    // Nothing is in flight: compares the whole image with what it should be.
    void check_all(const char* when);

    // The first thing that was wrong; empty: nothing.
    const std::string& violation() const { return violation_; }
    u64 answers() const { return answers_; }
    // What the violation is about.
    ByteRange wrong_range() const { return wrong_range_; }

private:
    struct Version {
        u64 job = 0;      // that wrote it; 0: nobody did
        u64 stamp = 0;    // 0: zeroes
        u64 start = 0;    // sent
        u64 end = 0;      // answered; 0: not yet
        u64 removed = 0;  // superseded for readers that began later; 0: not
        bool ok = false;  // supersedes what was answered before `start`
        bool durable = false;
        bool gone = false;  // no power cut may bring it back
    };
    using Versions = std::vector<Version>;

    void note(Job& job, bool ok);
    void settle(Versions& versions);
    void read_check(const Job& job);
    void allocation_check(const Job& job);
    bool explains(const Versions& versions, const std::byte* data, u64 since, bool after_cut) const;
    void collapse(Versions& versions, const std::byte* data);
    void wrong(ByteRange range, std::string text);
    std::string candidates(const Versions& versions) const;
    static bool changes(const Job& job);
    u64 end_of(const Job& job) const;

    Disk& disk_;
    const ByteRange device_;
    Prng& prng_;
    Trace& trace_;
    const Timeline& timeline_;
    std::vector<Versions> sectors_;
    std::set<u64> readers_;  // when reads in flight were sent
    u64 order_ = 1;
    u64 stable_ = 0;  // writes that were answered before this are durable
    u64 answers_ = 0;
    std::string violation_;
    ByteRange wrong_range_{};
};

}  // namespace ringloop::sim
