#include "sim/trace.h"

#include <fmt/format.h>

#include <algorithm>

#include "base/errno.h"
#include "engine/request.h"
#include "io/operation.h"

namespace ringloop::sim {
namespace {

const char* code_name(u8 detail) {
    using Code = io::Operation::Code;
    switch (static_cast<Code>(detail)) {
        case Code::read: return "read";
        case Code::write: return "write";
        case Code::readv: return "readv";
        case Code::writev: return "writev";
        case Code::fdatasync: return "fdatasync";
        case Code::fallocate: return "fallocate";
        case Code::discard: return "discard";
        case Code::command: return "command";
        case Code::prefetch: return "prefetch";
        case Code::accept: return "accept";
        case Code::receive: return "receive";
        case Code::send: return "send";
        case Code::hang_up: return "hang-up";
        case Code::timeout: return "timeout";
        case Code::cancel: return "cancel";
    }
    return "?";
}

std::string result_text(i64 value) {
    if (value >= 0) return fmt::format("{}", value);
    return describe(errno_from(static_cast<i32>(-value)));
}

std::string job_text(const Trace::Entry& entry) {
    const auto op = static_cast<engine::Op>(entry.detail & trace_op);
    return fmt::format("{} of {} bytes at {}{}{}", engine::name_of(op), entry.range.length,
                       entry.range.offset, entry.detail & trace_fua ? ", FUA" : "",
                       entry.detail & trace_no_unmap ? ", NOUNMAP" : "");
}

std::string operation_text(const Trace::Entry& entry) {
    return fmt::format("kernel {}: operation {}, {} of {} bytes at {}", entry.actor, entry.number,
                       code_name(entry.detail), entry.range.length, entry.range.offset);
}

std::string text_of(const Trace::Entry& entry) {
    switch (entry.what) {
        case What::sent: return fmt::format("job {} is sent: {}", entry.number, job_text(entry));
        case What::answered:
            return fmt::format("job {} is answered: {} ({})", entry.number,
                               describe(static_cast<Errno>(entry.value)), job_text(entry));
        case What::lost: return fmt::format("job {} gets no answer any more", entry.number);
        case What::started: return operation_text(entry) + " starts";
        case What::ended:
            return fmt::format("{} ends: {}", operation_text(entry), result_text(entry.value));
        case What::life: return fmt::format("life {} of the server begins", entry.number);
        case What::killed: return "the server is killed";
        case What::power_cut:
            return fmt::format("the power fails; {} sectors lose what was written", entry.value);
        case What::frozen: return "all shards are frozen";
        case What::thawed: return "all shards are thawed";
        case What::policy: return fmt::format("policy number {} from now on", entry.value);
        case What::resized: return fmt::format("the device has {} bytes now", entry.value);
        case What::truncated: return fmt::format("the image is cut to {} bytes", entry.value);
        case What::room:
            return entry.value < 0
                       ? "the file system has room again"
                       : fmt::format("the file system has room for {} pages more", entry.value);
        case What::on_error:
            return fmt::format("number {} is what becomes of errors{}", entry.value,
                               entry.detail != 0 ? ", and the device goes on" : "");
        case What::faults_off: return "no more faults from now on";
        case What::lane_opened: return fmt::format("lane {} is open", entry.number);
        case What::lane_killed: return fmt::format("lane {} is killed", entry.number);
        case What::connection_cut: return fmt::format("client {} cuts its connection", entry.actor);
        case What::writeback:
            return fmt::format("the sector at {} becomes stable on its own", entry.range.offset);
        case What::lost_page:
            return fmt::format("the sector at {} will never become stable", entry.range.offset);
        case What::wrong: return fmt::format("WRONG, at {}", entry.range.offset);
    }
    return "?";
}

}  // namespace

void Trace::add(const Entry& entry) {
    // FNV-1a, word by word.
    const u64 words[] = {
        entry.at_ns,
        u64{static_cast<u8>(entry.what)} | u64{entry.detail} << 8 | u64{entry.actor} << 16,
        entry.number,
        entry.range.offset,
        entry.range.length,
        static_cast<u64>(entry.value)};
    for (const u64 word : words) hash_ = (hash_ ^ word) * 0x100000001b3;
    if (keep_ > 0) {
        if (ring_.size() < keep_) {
            ring_.push_back(entry);
        } else {
            ring_[count_ % keep_] = entry;
        }
    }
    ++count_;
}

std::vector<Trace::Entry> Trace::last() const {
    std::vector<Entry> entries = ring_;
    if (entries.size() == keep_ && keep_ > 0) {
        std::ranges::rotate(entries, entries.begin() + static_cast<std::ptrdiff_t>(count_ % keep_));
    }
    return entries;
}

std::string sentence(const Trace::Entry& entry) {
    return fmt::format("{:12.6f} ms  {}", static_cast<double>(entry.at_ns) / 1e6, text_of(entry));
}

}  // namespace ringloop::sim
