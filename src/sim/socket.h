// A stream socket between a simulated client and the server under test. The bytes lie in memory;
// they travel after any time and fall apart anywhere. The server's end has a real descriptor, of
// a pair, because shutdown(2) is called on it: look() notices that at the other one.
#pragma once

#include <span>
#include <vector>

#include "base/unique_fd.h"
#include "sim/kernel.h"

namespace ringloop::sim {

class Socket final : public Endpoint {
public:
    struct Options {
        u64 delay_ns_max = 20'000;       // of each way; at least 1
        u64 window_bytes = 256 * kib;    // that the server can send before the client takes them
        void (*heard)(void*) = nullptr;  // on the timeline: there are bytes, or the server hung up
        void* context = nullptr;
    };

    Socket(Machine& machine, const Options& options);
    ~Socket() override;

    // A new connection, on a socket that has none: the server's end, whose operations are
    // `kernel`'s.
    UniqueFd connect(Kernel& kernel);
    // The server is about to close its end; nothing of it is in flight. Once a connection.
    void disconnect();
    bool connected() const { return kernel_ != nullptr; }
    // The process of the server was killed: what waits ends.
    void kill();

    // ---- The client's end. Bytes that were said are on their way, and cannot be lost but by
    // cut().

    void say(std::span<const std::byte> bytes);
    // Of what was said, what the server has not received; and taking back its last bytes.
    u64 unheard() const { return in_.size() - in_begin_; }
    void unsay(u64 bytes);
    // Says no more, and still listens.
    void finish();
    // Neither says nor listens any more. What the server has not received may be lost.
    void cut();
    std::span<const std::byte> heard() const;
    void take(u64 bytes);
    // The server says no more, and everything was taken.
    bool hung_up() const { return (shut_ || !connected()) && heard().empty(); }

    // After whatever may have called shutdown(2): after each turn of a shard.
    void look();

    void start(Kernel& kernel, io::Completion& completion) override;
    bool cancel(Kernel& kernel, io::Completion& completion) override;

private:
    // An operation of the server, and when it goes on.
    struct Wait : Event {
        Socket* socket = nullptr;
        io::Completion* completion = nullptr;
    };

    u64 delay();
    void poke(Wait& wait);
    void tell();
    void end(Wait& wait, i32 result);
    bool disturb(Wait& wait);
    void receive();
    void send();
    void hang_up();
    static void receive_on_time(Event& event);
    static void send_on_time(Event& event);
    static void hang_up_on_time(Event& event);
    static void tell_on_time(Event& event);

    Machine& machine_;
    const Options options_;
    Kernel* kernel_ = nullptr;
    i32 server_fd_ = -1;  // the server's
    UniqueFd client_fd_;
    std::vector<std::byte> in_;  // to the server, from in_begin_ on
    u64 in_begin_ = 0;
    std::vector<std::byte> out_;  // to the client, from out_begin_ on
    u64 out_begin_ = 0;
    bool finished_ = false;  // by the client
    bool cut_ = false;
    bool reset_ = false;  // a cut that the server sees as an error
    bool shut_ = false;   // by the server
    Wait receive_;
    Wait send_;
    Wait hang_up_;
    Wait tell_;
};

}  // namespace ringloop::sim
