// The NBD server of one device: what its transports (sockets, the kernel's nbd driver) share. It
// spreads connections over the shards, counts them, and ends them all.
//
//   join            each shard's thread, before its loop
//   listen, adopt   control thread, while the shards serve
//   drain           control thread: no connection is left when it returns true
//   park, unpark    control thread: clients are held still, for another server to go on with them
//   leave           each shard's thread, after its loop
//
// The service outlives the shards' loops; when drain returned false, connections are still with
// the shards and nothing that they use may be destroyed.
#pragma once

#include <atomic>
#include <condition_variable>
#include <functional>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "cgroup/hierarchy.h"
#include "engine/shard.h"
#include "engine/survey.h"
#include "frontend/nbd/carried.h"
#include "frontend/nbd/limits.h"
#include "frontend/nbd/negotiate.h"
#include "frontend/nbd/transmission.h"

namespace ringloop::nbd {

class Connection;
class Listener;
class TlsContext;

struct ServiceOptions {
    std::string export_name{};  // the empty name means it too
    std::string description{};
    TlsMode tls = TlsMode::off;
    const TlsContext* tls_context = nullptr;  // outlives the service; null when tls is off
    u32 connections_max = nbd::connections_max;
    u64 handshake_deadline_ms = nbd::handshake_deadline_ms;
    u32 request_bytes_max = nbd::request_bytes_max;  // 64 KiB to nbd::request_bytes_max
    u32 depth = depth_default;                       // requests in flight of one connection
    u64 in_flight_bytes = in_flight_bytes_default;   // large buffers of one connection
    // Tells in which cgroup a client is; outlives the service. Null: nobody wants to know.
    const cgroup::Hierarchies* issuers = nullptr;
};

struct ServiceCounts {
    u32 connections = 0;  // now, with those in the handshake
    u64 accepted = 0;
    u64 handshakes_failed = 0;  // refused, broken, too slow, or given up by the client
    u64 broken = 0;             // later, by an error of the socket, the client or the stop
};

class Service {
public:
    Service(engine::Device& device, ServiceOptions options, u32 shards);
    ~Service();

    void join(u32 index, engine::Shard& shard);
    void leave(u32 index);

    // A listening stream socket (unix, tcp, vsock), ours from now on; any number of them. The
    // first shard accepts. Nothing is accepted while connections_max are there: clients wait in
    // the socket's backlog until the deadline of the handshake has freed a place.
    void listen(UniqueFd socket);

    enum class Begin : u8 {
        handshake,     // a client that somebody else connected: --stdio
        transmission,  // simple replies and kernel_flags(): the kernel's nbd driver
        carried,       // a client of the last server: take_over()
    };
    // A connected stream socket, ours from now on. `on_ended` is called on the shard's thread when
    // the connection is gone, whoever ended it; it must not block.
    void adopt(UniqueFd socket, Begin begin, u32 shard, std::function<void()> on_ended);

    // Stops accepting, receiving and beginning, and waits until everything that clients asked for
    // is done and answered; for those in the handshake, a moment. Others than the driver's clients
    // are `parked` then, or cannot be. To be followed by unpark(), or the end of the process.
    struct Parked {
        u32 parked = 0;
        u32 busy = 0;       // after timeout_ms: they take no replies, or a request does not come on
        u32 handshake = 0;  // nothing was promised to them
        u32 encrypted = 0;
    };
    Parked park(u64 timeout_ms);
    void unpark();
    // Of those that are parked. The socket is still ours.
    struct Held {
        int socket = -1;
        CarriedClient client;
    };
    std::vector<Held> held();
    // In the order of listen().
    std::vector<int> listening_sockets() const;

    // A client that another server held, ours from now on. `before`: what that server had counted.
    void take_over(UniqueFd socket, CarriedClient client);
    void count_from(const ServiceCounts& before);

    // Transmission flags as the kernel's driver is to be told them (NBD_ATTR_SERVER_FLAGS). Any
    // thread, any time.
    u16 kernel_flags() const;

    // Control thread, when the device has another image, or may be written no more: what clients
    // are told that connect from now on.
    void image_changed();

    // Stops accepting; answers what is in flight, refuses what comes with ESHUTDOWN, and closes.
    // Whoever does not take the answers is cut off after half the time. False: a request is still
    // with the backing after timeout_ms.
    [[nodiscard]] bool drain(u64 timeout_ms);

    ServiceCounts counts() const;

    // Whose thread is one of this process, like those of the shards.
    engine::Survey& survey() { return survey_; }

    // Buffers of all connections together, at most.
    u64 buffer_bytes_max() const {
        return options_.connections_max * transmission_options(0).buffer_bytes();
    }

private:
    friend class Connection;
    friend class Listener;

    struct Errand;  // a message that is made for its delivery and deletes itself

    // One for each shard.
    struct Post {
        engine::Shard* shard = nullptr;     // set before anything is posted
        Connection* connections = nullptr;  // owned by the shard's thread
        std::atomic<u32> count = 0;
        Parked standing{};  // of its connections, while parking; guarded by mutex_
        u32 known = 0;      // connections then; guarded by mutex_
        u32 accepting = 0;  // listeners that may bring one more; guarded by mutex_
    };

    // What connections and listeners use, on shards' threads.
    const ServiceOptions& options() const { return options_; }
    // With the size that the device has now, so each connection asks for its own.
    Export export_now() const;
    Agreement kernel_agreement() const;
    Transmission::Options transmission_options(u64 cgroup) const;
    bool full() const { return places_taken_.load() >= options_.connections_max; }
    void place(UniqueFd socket);
    void connection_gone(Connection& connection);
    void note_failed_handshake(std::string_view reason);
    void note_broken(std::string_view reason);  // empty: it ended well
    void listener_gone();
    void recount(Post& at);
    void listener_parked() { recount(posts_.front()); }
    bool parking() const { return parking_.load(); }

    void post(u32 index, std::function<void(Post&)> work);
    void adopt(UniqueFd socket, Begin begin, u32 shard, std::function<void()> on_ended,
               CarriedClient carried);
    void open_connection(Post& post, UniqueFd socket, Begin begin, std::function<void()> on_ended,
                         CarriedClient carried);
    u32 emptiest_shard() const;
    Parked standing() const;
    void on_each_shard(const std::function<void(Post&)>& work);
    void settle(std::atomic<u32>& count);
    template <typename Rep>
    bool all_gone_within(Rep time);

    // Constant after construction.
    engine::Device& device_;
    const ServiceOptions options_;
    Export export_;  // without its size and its flags
    std::vector<Post> posts_;

    engine::Survey survey_;
    std::vector<std::unique_ptr<Listener>> listeners_;  // control thread; each serves on shard 0

    std::atomic<u16> flags_;  // transmission flags for new clients
    std::atomic<u32> places_taken_ = 0;
    std::atomic<u32> connections_ = 0;  // not destroyed yet
    std::atomic<u32> listening_ = 0;
    std::atomic<u64> accepted_ = 0;
    std::atomic<u64> handshakes_failed_ = 0;
    std::atomic<u64> broken_ = 0;

    std::atomic<bool> parking_ = false;

    std::mutex mutex_;  // of the waits in drain and park; nothing of the data path takes it
    std::condition_variable gone_;
};

}  // namespace ringloop::nbd
