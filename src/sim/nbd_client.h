// NBD clients of every manner over simulated sockets to a real service: they shake hands, have
// several requests in flight, are cut off at any byte, and come back.
#pragma once

#include <deque>
#include <memory>
#include <string>
#include <vector>

#include "frontend/nbd/service.h"
#include "sim/nbd_session.h"
#include "sim/port.h"
#include "sim/socket.h"

namespace ringloop::sim {

class NbdClients final : public Port {
public:
    struct Options {
        u32 connections = 2;
        u32 depth = 8;              // requests in flight of one connection
        u32 server_depth = 8;       // that the server takes of it
        u64 delay_ns_max = 30'000;  // of whatever a client does; at least 1
        u64 window_bytes = 256 * kib;
    };

    // Both outlive the clients, which outlive the timeline's last step.
    NbdClients(Machine& machine, Audience& audience, const Options& options);
    ~NbdClients() override;

    void start(Server& server) override;
    void send(Job& job) override;
    u32 depth() const override { return options_.connections * options_.depth; }
    void stop() override;
    bool ended() const override;
    void killed(bool power_cut) override;
    void clear() override;
    const std::string& violation() const override { return violation_; }

    // After each turn of a shard, which may have ended a connection.
    void turned() override;

    u64 connected() const { return connected_; }  // connections, ever
    u64 left() const { return left_; }            // of them, ended by their client

private:
    struct Client;
    // Comes back from a shard behind everything that the service has posted to it.
    struct Marker : engine::Message {
        bool posted = false;
    };
    enum class State : u8 { cleared, serving, stopping, killed };
    // How a client ends a connection.
    enum class Farewell : u8 { cut, finish, disconnect };

    u64 delay();
    void wake(Client& client);
    void wake_all();
    static void client_on_time(Event& event);
    static void client_on_bytes(void* context);
    void act(Client& client);
    void connect(Client& client);
    void request(Client& client);
    void say(Client& client);
    void hear(Client& client);
    void answer(Client& client);
    void leave(Client& client, Farewell farewell);
    void hang_up(Client& client);
    void ended(Client& client);
    void check_end(const Client& client);
    void post_markers();
    void violate(const Client& client, const std::string& what);

    Machine& machine_;
    Audience& audience_;
    const Options options_;
    State state_ = State::cleared;
    Server* server_ = nullptr;
    std::unique_ptr<nbd::Service> service_;  // of this life
    std::vector<std::unique_ptr<Marker>> markers_;
    std::deque<Job*> waiting_;  // for a connection
    std::vector<std::unique_ptr<Client>> clients_;
    u64 connected_ = 0;
    u64 left_ = 0;
    std::string violation_;
};

}  // namespace ringloop::sim
