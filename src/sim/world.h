// A whole simulated run: lives of the server one after the other, clients that come by its ports,
// and whatever happens to them. The same configuration gives the same run, event by event.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "sim/clients.h"
#include "sim/config.h"
#include "sim/life.h"
#include "sim/oracle.h"

namespace ringloop::sim {

struct Verdict {
    std::string wrong;  // empty: nothing
    ByteRange wrong_range{};
    u64 hash = 0;  // of everything that happened
    u64 jobs = 0;
    u64 operations = 0;  // of the kernels, on the image
    u64 virtual_ns = 0;
};

class World {
public:
    // Keeps the last `keep` entries of its trace.
    World(const Config& config, u64 keep);
    ~World();

    Verdict run();
    const Trace& trace() const { return trace_; }

private:
    enum class End : u8 { drain, kill, power_cut };

    struct Change : Event {
        World* world = nullptr;
        u64 operations = 0;  // when all was frozen
    };

    void live(u64 number, u64 jobs, End end);
    void last_life();
    void begin_life();
    void drain();
    void die(bool power_cut);
    void wind_up();
    template <typename Condition>
    bool pass_time_until(Condition condition, const char* what);
    bool all_ended() const;
    bool something_is_wrong();
    void note(What what, u64 number, i64 value);

    static void job_is_answered(void* world);
    static u64 stop_now(void* world);
    void mishap();
    void room_ends();
    static void room_comes(Event& event);
    void set_on_error();
    void change_start();
    void change_when_frozen();
    static void change_ends(Event& event);

    const Config config_;
    Trace trace_;
    Timeline timeline_;
    Prng prng_;
    Disk disk_;
    Machine machine_;
    Oracle oracle_;
    Clients clients_;
    std::vector<std::unique_ptr<Port>> ports_;
    std::unique_ptr<Life> life_;
    u64 device_bytes_;
    struct Room : Event {
        World* world = nullptr;
    };
    Change change_;
    Room room_;
    bool changing_ = false;
    bool may_change_ = false;
    bool poisoned_ = false;
    bool stopped_ = false;
    u64 stops_ = 0;  // counts what ends one
    engine::OnError on_error_;
    bool misdirected_ = false;
    u64 lives_ = 0;
    std::string wrong_;
};

}  // namespace ringloop::sim
