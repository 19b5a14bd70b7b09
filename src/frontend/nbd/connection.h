// One client: its socket on the shard's ring, the handshake, the transmission, and the end.
//
//   receive_start -> receive_on_socket -> input_consume -+-> handshake
//        ^                                               `-> Transmission -> engine
//        `---------- pass_end <--------------------------------- replies
//                       `-> send_start -> send_on_socket -> pass_end
//
// Once a pass, pass_end does what has become possible: parses on, sends all replies together,
// receives, or ends. Everything in the kernel's hands (receive, send, timer, cancel …) has come
// back before a connection is destroyed. One thread, the shard's.
#pragma once

#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "base/unique_fd.h"
#include "engine/shard.h"
#include "frontend/nbd/carried.h"
#include "frontend/nbd/negotiate.h"
#include "frontend/nbd/service.h"
#include "frontend/nbd/tls_channel.h"
#include "frontend/nbd/transmission.h"

namespace ringloop::nbd {

class Connection {
public:
    // `carried`: of Begin::carried.
    Connection(Service& service, engine::Shard& shard, UniqueFd socket, Service::Begin begin,
               std::function<void()> on_ended, CarriedClient carried = {});
    ~Connection();

    // Receives no more, and begins nothing; what has begun ends and is answered. Its service is
    // told of every change (Service::recount). Not of a driver's connection.
    void park();
    void unpark();
    enum class Standing : u8 {
        parked,     // nothing is under way: carried() tells the rest
        busy,       // answers are to be sent, or a request has come in half
        handshake,  // has nothing to be carried
        encrypted,  // keys and sequence numbers stay with this process
        drivers,    // of the kernel's driver, which makes a new one by itself
        ending,
    };
    Standing standing() const;
    int socket() const { return socket_.get(); }
    CarriedClient carried() const;

    // Answers what is in flight, refuses what comes, and closes when nothing is left to send.
    void drain();
    // Closes without a word; requests that are with the engine still end.
    void abort(std::string_view reason);

    // The service's: its list of this shard.
    Connection* next = nullptr;
    Service::Post* post = nullptr;

private:
    enum class State : u8 { handshake, transmission, closing };

    // Something in flight on the ring that leads back to its connection.
    struct Step : io::Completion {
        Connection* connection = nullptr;
        bool busy = false;
    };
    struct ProceedAtPassEnd : engine::PassEnd {
        Connection* connection = nullptr;
    };

    static void pass_end(engine::PassEnd& end);
    void proceed();
    void wake() { shard_.at_pass_end(pass_end_); }

    void receive_start();
    static void receive_on_socket(io::Completion& completion);
    void hang_up_watch();
    static void hang_up_on_socket(io::Completion& completion);
    void input_consume();
    bool decrypt();
    void tls_on_failure();
    void plain_consume();
    void input_on_end();
    void handshake_consume();
    void transmission_start(const Agreement& agreement);
    bool refill();
    void receive_cancel();
    Bytes input() const { return {input_.get() + input_begin_, input_end_ - input_begin_}; }

    void send_start();
    void send_encrypted();
    u64 gather();
    void gather_slot(Slot& slot);
    void add_vector(std::byte* data, u32 bytes);
    void send_submit();
    static void send_on_socket(io::Completion& completion);
    void sent_all();

    void deadline_start();
    static void deadline_on_clock(io::Completion& completion);
    void deadline_cancel();
    static void cancel_on_kernel(io::Completion& completion);

    void end_when_done();
    void close_start(std::string_view reason);
    bool quiet() const;
    void submit(Step& step, void (*done)(io::Completion&));

    static constexpr u32 vectors_max = 256;
    static constexpr u32 slot_vectors_max = std::max(2 * fragments_max, 1 + whole_read_pieces_max);
    // Sent at a time, however long the last reply in it is: what a small reply waits for behind
    // long ones is about what the socket holds.
    static constexpr u64 send_bytes_max = 256 * kib;

    // Constant after construction.
    Service& service_;
    engine::Shard& shard_;
    const UniqueFd socket_;
    const std::function<void()> on_ended_;
    const bool drivers_;

    State state_ = State::handshake;
    bool draining_ = false;
    bool parking_ = false;
    bool receive_cancelled_ = false;  // by receive_cancel, and neither has come back to say so
    bool input_ended_ = false;        // the client sends no more
    bool hung_up_ = false;            // the same, though not all that it sent has been read
    std::string_view closing_reason_;
    const Export offered_;  // as it was when the client came
    std::unique_ptr<Negotiation> negotiation_;
    std::unique_ptr<Transmission> transmission_;
    std::unique_ptr<TlsChannel> tls_;
    bool starting_tls_ = false;  // as soon as the answer to STARTTLS is sent

    std::unique_ptr<std::byte[]> input_;
    u32 input_begin_ = 0;
    u32 input_end_ = 0;
    std::vector<std::byte> backlog_;  // of a carried client: comes before what is received
    std::size_t backlog_begin_ = 0;
    u32 direct_bytes_ = 0;  // of a receive under way, straight into a payload's place

    std::unique_ptr<std::byte[]> handshake_storage_;
    OutputBuffer handshake_output_;

    SlotList sending_;
    std::array<iovec, vectors_max> vectors_;
    u32 vector_begin_ = 0;
    u32 vector_count_ = 0;
    u64 sending_bytes_ = 0;
    u32 handshake_sending_ = 0;  // bytes of handshake_output_ among them

    Step receive_;
    Step send_;
    Step hang_up_;  // while nothing is received, where requests may wait for room
    Step deadline_;
    Step cancel_;
    msghdr receive_message_{};
    std::array<iovec, 2> receive_vectors_{};
    msghdr send_message_{};
    iovec cipher_vector_{};
    ProceedAtPassEnd pass_end_;
};

}  // namespace ringloop::nbd
