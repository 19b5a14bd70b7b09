// A client in the server's own process: its requests go to the shards as they are.
#pragma once

#include <deque>
#include <memory>

#include "sim/port.h"

namespace ringloop::sim {

class InProcess final : public Port {
public:
    // `bytes_max`: of one job.
    InProcess(Machine& machine, Audience& audience, u32 depth, u64 bytes_max);
    ~InProcess() override;

    void start(Server& server) override;
    void send(Job& job) override;
    u32 depth() const override { return depth_; }
    void stop() override { stopping_ = true; }
    bool ended() const override;
    void killed(bool power_cut) override;
    void clear() override;
    const std::string& violation() const override { return violation_; }

private:
    struct Slot : engine::Request {
        InProcess* port = nullptr;
        Job* job = nullptr;
        std::unique_ptr<std::byte[]> memory;
    };
    // What is to be done in a shard's thread: handed over when its loop is turned.
    struct Door;

    static void request_on_engine(engine::Request& request);

    Machine& machine_;
    Audience& audience_;
    const u32 depth_;
    const u64 bytes_max_;
    Server* server_ = nullptr;
    std::vector<std::unique_ptr<Slot>> slots_;
    std::vector<Slot*> free_;
    std::vector<std::unique_ptr<Door>> doors_;  // by seat
    bool stopping_ = false;
    bool killed_ = false;
    std::string violation_;
};

}  // namespace ringloop::sim
