// One life of the server under test: its device, its shards on simulated kernels, and who turns
// their loops. It ends in order, or is killed where it stands.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "backing/backing.h"
#include "sim/config.h"
#include "sim/port.h"
#include "sim/tenants.h"

namespace ringloop::sim {

class Life {
public:
    // What the state file of the life before says.
    struct Inherited {
        u64 device_bytes = 0;
        bool poisoned = false;
        bool stopped = false;
        engine::OnError on_error = engine::OnError::report;
    };
    Life(const Config& config, Machine& machine, const Inherited& inherited);
    ~Life();

    Server& server() { return server_; }
    // Listens, once the ports have started. From here on the timeline turns the loops.
    void begin();

    // Asks every shard to hold still; frozen() once nothing is in flight below. Then thaw().
    void freeze();
    bool frozen() const { return freezing_ && frozen_ == seats_.size(); }
    bool freezing() const { return freezing_; }
    void thaw();
    void resize(u64 bytes) { backing_->resize(bytes); }
    // What waits for room is tried again, as `set` has it.
    void retry_held();
    // What its state file says, or would have said a moment later.
    bool poisoned() const;

    // The ports have ended: the lanes end, and then the loops, as soon as nothing is in flight.
    void quiesce();
    bool quiesced() const { return !tenants_ || tenants_->ended(); }
    void stop();
    bool stopped() const;
    void kill();

    // Called after each turn of a seat's loop, if set: what happened in it. True: the loop wants
    // another turn, although its kernel knows of no reason.
    std::function<bool(u32 seat)> turned;

    // What is left that should not be, after an orderly end; empty: nothing.
    std::string leftovers() const;

private:
    struct Host;  // a shard with all that belongs to it

    static void seat_wants_turn(void* host);
    static void seat_turns(Event& event);
    static void shard_is_frozen(void* life);

    Machine& machine_;
    std::unique_ptr<backing::Backing> backing_;
    std::unique_ptr<engine::Device> device_;
    std::vector<std::unique_ptr<Host>> hosts_;
    std::vector<Seat> seats_;
    Server server_;
    std::unique_ptr<SimTenants> tenants_;
    bool freezing_ = false;
    std::size_t frozen_ = 0;
};

}  // namespace ringloop::sim
