// The clients of a device: each port has as many slots as its depth, each slot sends one job after
// the other. What a job does is drawn from the run's seed and the job's number, so that jobs can be
// left out of a run and the others stay (but for where one goes on that begins where another
// ended).
#pragma once

#include <memory>
#include <vector>

#include "sim/config.h"
#include "sim/oracle.h"
#include "sim/port.h"

namespace ringloop::sim {

class Clients final : public Audience {
public:
    Clients(const Config& config, Machine& machine, Oracle& oracle);
    ~Clients() override;

    void add(Port& port);

    // The server lives: slots that wait begin to send.
    void resume();
    // No slot sends another job.
    void pause() { paused_ = true; }
    // Nothing is with the ports.
    bool quiet() const { return with_ports_ == 0; }
    // Of those that were to be sent, all have been answered or lost.
    bool done() const { return next_ > limit_ && quiet(); }
    void limit(u64 jobs) { limit_ = jobs; }
    // So many jobs were sent, and left out.
    u64 sent() const { return next_ - 1; }
    // Jobs that end behind the device are sent only where its size stands still.
    void set_device_bytes(u64 bytes) { device_bytes_ = bytes; }
    // Reads only, one after the other, over the whole device: what a client finds in the end.
    void sweep();
    void end_sweep() { sweeping_ = false; }
    bool swept() const { return sweeping_ && sweep_at_ >= device_bytes_ && quiet(); }
    // From now on a client expects every job to succeed; the first that fails is told.
    void expect_success() { must_succeed_ = true; }
    // The number of the stop (engine::OnError::stop) that the device is in, 0 for none: of what was
    // sent and answered within one, nothing but reads may succeed.
    u64 (*stop_now)(void*) = nullptr;
    // With OnError::pause all the time, nobody hears that there was no room.
    void expect_room() { must_wait_for_room_ = true; }
    const std::string& complaint() const { return complaint_; }
    // Called once an answer: the world's chance to do something.
    void (*on_answer)(void*) = nullptr;
    void* on_answer_context = nullptr;

    void answered(Job& job, i32 error) override;
    void lost(Job& job) override;

private:
    struct Slot;

    bool draw(Job& job);
    void place(Job& job, Prng& prng);
    bool draw_sweep(Job& job);
    void send(Slot& slot);
    void rest(Slot& slot);
    void check_answer(const Job& job, i32 error);
    Slot& slot_of(Job& job) { return *slots_[job.client]; }
    static void slot_wakes(Event& event);

    const Config& config_;
    Machine& machine_;
    Oracle& oracle_;
    std::vector<std::unique_ptr<Slot>> slots_;
    u64 next_ = 1;  // number of the next job
    u64 limit_ = 0;
    u64 with_ports_ = 0;
    u64 device_bytes_ = 0;
    u64 sequence_end_ = 0;  // where the last job ended: the next one often goes on there
    u64 sweep_at_ = 0;
    bool sweeping_ = false;
    bool paused_ = true;
    bool must_succeed_ = false;
    bool must_wait_for_room_ = false;
    std::string complaint_;
};

}  // namespace ringloop::sim
