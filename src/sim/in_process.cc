#include "sim/in_process.h"

#include <fmt/format.h>

#include <cstring>

namespace ringloop::sim {

// A shard is used from within its loop only: a completion that its kernel delivers stands for the
// message by which another thread would have come.
struct InProcess::Door : io::Completion {
    Seat* seat = nullptr;
    std::deque<Slot*> waiting;
    bool busy = false;

    void open() {
        if (busy || waiting.empty()) return;
        busy = true;
        done = [](io::Completion& completion) {
            auto& door = static_cast<Door&>(completion);
            door.busy = false;
            while (!door.waiting.empty()) {
                Slot& slot = *door.waiting.front();
                door.waiting.pop_front();
                door.seat->shard->submit(slot);
            }
        };
        seat->kernel->complete(*this, 0);
    }
};

InProcess::InProcess(Machine& machine, Audience& audience, u32 depth, u64 bytes_max)
    : machine_(machine), audience_(audience), depth_(depth), bytes_max_(bytes_max) {
    for (u32 i = 0; i < depth; ++i) {
        slots_.push_back(std::make_unique<Slot>());
        Slot& slot = *slots_.back();
        slot.port = this;
        slot.done = request_on_engine;
        slot.memory = std::make_unique<std::byte[]>(bytes_max + page_bytes);
        slot.buffer = reinterpret_cast<std::byte*>(
            align_up(reinterpret_cast<u64>(slot.memory.get()), page_bytes));
        free_.push_back(&slot);
    }
}

InProcess::~InProcess() = default;

void InProcess::start(Server& server) {
    server_ = &server;
    stopping_ = killed_ = false;
    doors_.clear();
    for (Seat& seat : server.seats) {
        doors_.push_back(std::make_unique<Door>());
        doors_.back()->seat = &seat;
    }
}

void InProcess::send(Job& job) {
    ASSERT(!free_.empty() && job.range.length <= bytes_max_);
    Slot& slot = *free_.back();
    free_.pop_back();
    slot.job = &job;
    slot.op = job.op;
    slot.fua = job.fua;
    slot.no_unmap = job.no_unmap;
    slot.fast_zero = job.fast_zero;
    slot.range = job.range;
    slot.cgroup = job.cgroup;
    slot.buffer_touched = 0;
    if (job.op == engine::Op::write) std::memcpy(slot.buffer, job.data.data(), job.data.size());
    Door& door = *doors_[machine_.prng.below(doors_.size())];
    door.waiting.push_back(&slot);
    door.open();
}

void InProcess::request_on_engine(engine::Request& request) {
    auto& slot = static_cast<Slot&>(request);
    InProcess& port = *slot.port;
    if (!slot.job && port.violation_.empty()) {
        port.violation_ = "a request was answered twice";
        return;
    }
    if (port.killed_) return;
    Job& job = *std::exchange(slot.job, nullptr);
    if (job.op == engine::Op::read && slot.result == Errno::ok) {
        std::memcpy(job.data.data(), slot.buffer, job.data.size());
    }
    // Whoever still uses the buffer now finds something else in it.
    const u64 scribble = port.machine_.prng.next();
    for (u64 at = 0; at + sizeof scribble <= job.range.length && at < port.bytes_max_;
         at += sector_bytes / 2) {
        std::memcpy(slot.buffer + at, &scribble, sizeof scribble);
    }
    port.free_.push_back(&slot);
    port.audience_.answered(job, to_number(slot.result));
}

bool InProcess::ended() const {
    for (const auto& door : doors_) {
        if (door->busy) return false;
    }
    for (const auto& slot : slots_) {
        if (slot->active) return false;
    }
    return true;
}

void InProcess::killed(bool) { killed_ = true; }

void InProcess::clear() {
    free_.clear();
    for (const auto& slot : slots_) {
        free_.push_back(slot.get());
        if (Job* job = std::exchange(slot->job, nullptr)) audience_.lost(*job);
    }
    doors_.clear();
    server_ = nullptr;
}

}  // namespace ringloop::sim
