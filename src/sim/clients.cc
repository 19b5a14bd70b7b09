#include "sim/clients.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>

namespace ringloop::sim {

using engine::Op;

struct Clients::Slot : Event {
    Clients* clients = nullptr;
    Port* port = nullptr;
    Job job;
    bool sent = false;
};

Clients::Clients(const Config& config, Machine& machine, Oracle& oracle)
    : config_(config), machine_(machine), oracle_(oracle), device_bytes_(config.device_bytes) {}

Clients::~Clients() = default;

void Clients::add(Port& port) {
    for (u32 i = 0; i < port.depth(); ++i) {
        slots_.push_back(std::make_unique<Slot>());
        Slot& slot = *slots_.back();
        slot.happen = slot_wakes;
        slot.clients = this;
        slot.port = &port;
        slot.job.client = static_cast<u32>(slots_.size() - 1);
    }
}

void Clients::resume() {
    paused_ = false;
    for (const auto& slot : slots_) {
        if (!slot->sent && !slot->scheduled) rest(*slot);
    }
}

void Clients::sweep() {
    sweeping_ = true;
    sweep_at_ = 0;
    resume();
}

void Clients::rest(Slot& slot) {
    machine_.timeline.after(machine_.prng.below(config_.pause_ns_max + 1), slot);
}

void Clients::slot_wakes(Event& event) {
    auto& slot = static_cast<Slot&>(event);
    if (!slot.clients->paused_) slot.clients->send(slot);
}

void Clients::send(Slot& slot) {
    if (!(sweeping_ ? draw_sweep(slot.job) : draw(slot.job))) return;
    slot.sent = true;
    slot.job.stop = stop_now ? stop_now(on_answer_context) : 0;
    ++with_ports_;
    oracle_.sent(slot.job);
    slot.port->send(slot.job);
}

bool Clients::draw_sweep(Job& job) {
    if (sweep_at_ >= device_bytes_) return false;
    const u64 length = std::min<u64>(config_.job_bytes_max, device_bytes_ - sweep_at_);
    job = {.number = next_++, .range = {sweep_at_, length}, .client = job.client};
    sweep_at_ += length;
    return true;
}

bool Clients::draw(Job& job) {
    while (next_ <= limit_ && (config_.without >> (next_ % 64) & 1) != 0) ++next_;
    if (next_ > limit_) return false;
    const u64 number = next_++;
    Prng prng(config_.seed * 0x9e3779b97f4a7c15 + number);
    job = {.number = number, .client = job.client};
    if (config_.tenants > 0) job.cgroup = prng.below(config_.tenants + 1);
    const u64 kind = prng.below(100);
    const u64 reads = config_.reads;
    const u64 flushes = reads + config_.flushes;
    const u64 zeroes = flushes + config_.zeroes;
    const u64 discards = zeroes + config_.discards;
    job.op = kind < reads      ? Op::read
             : kind < flushes  ? Op::flush
             : kind < zeroes   ? Op::write_zeroes
             : kind < discards ? Op::discard
                               : Op::write;
    if (job.op != Op::read && job.op != Op::flush) job.fua = prng.below(100) < config_.fua;
    if (job.op == Op::write_zeroes) job.no_unmap = prng.below(2) == 0;
    if (job.op != Op::flush) place(job, prng);
    return true;
}

void Clients::place(Job& job, Prng& prng) {
    const u64 longest = std::min(config_.job_bytes_max, device_bytes_) / sector_bytes;
    const u64 length = prng.skewed(1, longest) * sector_bytes;
    const u64 fitting = (device_bytes_ - length) / sector_bytes;
    const u64 hot = config_.hot_sectors;
    u64 sector = prng.below(fitting + 1);
    if (hot > 0 && prng.below(8) != 0) sector = prng.below(std::min(hot, fitting + 1));
    const bool follows = prng.below(3) == 0 && sequence_end_ + length <= device_bytes_;
    job.range = {follows ? sequence_end_ : sector * sector_bytes, length};
    sequence_end_ = job.range.end();
    if (config_.resizes == 0 && prng.below(200) == 0) {
        job.range.offset = device_bytes_ - prng.below(length / sector_bytes) * sector_bytes;
        job.beyond = true;
    } else if (prng.below(40) == 0) {
        job.range.offset = device_bytes_ - length;  // the very end
    }
}

void Clients::answered(Job& job, i32 error) {
    Slot& slot = slot_of(job);
    if (!slot.sent) {
        if (complaint_.empty()) complaint_ = fmt::format("job {} was answered twice", job.number);
        return;
    }
    slot.sent = false;
    --with_ports_;
    oracle_.answered(job, error);
    if (complaint_.empty()) check_answer(job, error);
    if (!paused_) rest(slot);
    if (on_answer) on_answer(on_answer_context);
}

void Clients::check_answer(const Job& job, i32 error) {
    // What the file system does not have it will not have: that is no fault.
    const bool excused = job.beyond || (job.op == Op::discard && error == EOPNOTSUPP);
    if (must_succeed_ && error != 0 && !excused) {
        complaint_ = fmt::format("job {} failed with {} although no fault is left", job.number,
                                 describe(errno_from(error)));
    }
    const bool writes = job.op == Op::write || job.op == Op::write_zeroes;
    // FUA does not wait once a sync has failed: it could not succeed any more.
    if (must_wait_for_room_ && error == ENOSPC && writes && !job.fua && !job.beyond) {
        complaint_ = fmt::format("job {} found no room, and did not wait for any", job.number);
    }
    const bool stopped = job.stop != 0 && stop_now && stop_now(on_answer_context) == job.stop;
    if (stopped && error == 0 && job.op != Op::read) {
        complaint_ = fmt::format("job {} was done on a device that had stopped", job.number);
    }
}

void Clients::lost(Job& job) {
    Slot& slot = slot_of(job);
    ASSERT(slot.sent);
    slot.sent = false;
    --with_ports_;
    oracle_.lost(job);
    if (!paused_) rest(slot);
}

}  // namespace ringloop::sim
