// How a client's requests reach the server under test: in process, by the ublk driver, by NBD.
#pragma once

#include <span>
#include <string>
#include <vector>

#include "engine/shard.h"
#include "sim/kernel.h"

namespace ringloop::sim {

// One request as the client of the device knows it.
struct Job {
    u64 number = 0;  // of the run, from 1: its name in the story
    engine::Op op = engine::Op::read;
    bool fua = false;
    bool no_unmap = false;
    bool fast_zero = false;
    u64 cgroup = 0;               // that issues it
    ByteRange range{};            // bytes of the device
    std::vector<std::byte> data;  // write: what; read: where to. range.length bytes, the client's
    Job* next = nullptr;

    // The oracle's and the clients'.
    u64 started = 0;  // when, in the oracle's order
    u64 stamp = 0;    // that its sectors are made of
    u32 client = 0;
    u64 stop = 0;         // of the device, during which it was sent; 0: none
    bool beyond = false;  // its range ends behind the device: has to fail
};

// Who hears what became of a job: the clients, from within events of the timeline.
class Audience {
public:
    virtual ~Audience() = default;
    // `error`: 0, or the positive errno that this client sees. Exactly once a job, unless lost.
    virtual void answered(Job& job, i32 error) = 0;
    // There will be no answer. The job has happened, or not, or in part; from now on it does not.
    virtual void lost(Job& job) = 0;
};

// A shard and the kernel at its ring, in one life of the server.
struct Seat {
    Kernel* kernel = nullptr;
    engine::Shard* shard = nullptr;
};

// One life of the server, as ports see it.
struct Server {
    engine::Device* device = nullptr;
    std::span<Seat> seats;
};

class Port {
public:
    virtual ~Port() = default;

    // A server lives. Once at the start of each life; jobs may have been kept from the last one.
    virtual void start(Server& server) = 0;
    // Takes the job; at most depth() are with it at one time. While started.
    virtual void send(Job& job) = 0;
    virtual u32 depth() const = 0;

    // The orderly end, with no job left: from now on the port's half of the server winds up, as
    // the timeline goes on, until ended(). Then its objects in the server are destroyed by clear().
    virtual void stop() = 0;
    virtual bool ended() const = 0;

    // The server was killed: its kernels are dead and complete everything with an error. The world
    // turns its shards until ended(), then calls clear(). What the dead server answers is not
    // heard. Jobs are reported lost in clear(), or kept for the next life (ublk); none is kept when
    // the whole machine lost its power.
    virtual void killed(bool power_cut) = 0;
    virtual void clear() = 0;

    // After each turn of a shard: the port may have to look at what nobody tells it of.
    virtual void turned() {}

    // What this port saw the server do that no protocol allows; empty: nothing.
    virtual const std::string& violation() const = 0;
};

}  // namespace ringloop::sim
