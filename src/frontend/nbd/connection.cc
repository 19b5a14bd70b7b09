#include "frontend/nbd/connection.h"

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "base/vectors.h"

namespace ringloop::nbd {

Connection::Connection(Service& service, engine::Shard& shard, UniqueFd socket,
                       Service::Begin begin, std::function<void()> on_ended, CarriedClient carried)
    : service_(service),
      shard_(shard),
      socket_(std::move(socket)),
      on_ended_(std::move(on_ended)),
      drivers_(begin == Service::Begin::transmission),
      offered_(service_.export_now()),
      input_(std::make_unique<std::byte[]>(input_bytes)),
      handshake_storage_(std::make_unique<std::byte[]>(negotiation_output_bytes_min)),
      handshake_output_({handshake_storage_.get(), negotiation_output_bytes_min}) {
    pass_end_.run = pass_end;
    pass_end_.connection = this;
    for (Step* step : {&receive_, &send_, &hang_up_, &deadline_, &cancel_}) step->connection = this;
    if (begin == Service::Begin::transmission) {
        transmission_start(service_.kernel_agreement());
        return;
    }
    if (begin == Service::Begin::carried) {
        backlog_ = std::move(carried.input);
        transmission_start(carried.agreement);
        return;
    }
    negotiation_ = std::make_unique<Negotiation>(
        Negotiation::Options{.exports = {&offered_, 1}, .tls = service_.options().tls});
    deadline_start();
    input_consume();
    wake();
}

Connection::~Connection() {
    ASSERT(quiet());
    if (on_ended_) on_ended_();
}

void Connection::drain() {
    draining_ = true;
    if (negotiation_) negotiation_->shutdown_start();
    if (transmission_) transmission_->shutdown_start();
    wake();
}

void Connection::park() {
    if (drivers_) return;
    parking_ = true;
    if (transmission_) transmission_->pause();
    wake();
}

void Connection::unpark() {
    if (!std::exchange(parking_, false)) return;
    if (transmission_) {
        transmission_->go_on();
        input_consume();
    }
    wake();
}

Connection::Standing Connection::standing() const {
    if (drivers_) return Standing::drivers;
    if (state_ == State::closing || input_ended_) return Standing::ending;
    if (tls_ || starting_tls_) return Standing::encrypted;
    if (state_ == State::handshake) return Standing::handshake;
    const bool quiet = !receive_.busy && !send_.busy && !cancel_.busy && transmission_->settled() &&
                       handshake_output_.pending().empty();
    return parking_ && quiet ? Standing::parked : Standing::busy;
}

CarriedClient Connection::carried() const {
    ASSERT(standing() == Standing::parked);
    CarriedClient client{.agreement = transmission_->agreement(), .input = {}};
    transmission_->hand_over(client.input);
    client.input.insert(client.input.end(), input().begin(), input().end());
    client.input.insert(client.input.end(),
                        backlog_.begin() + static_cast<std::ptrdiff_t>(backlog_begin_),
                        backlog_.end());
    return client;
}

void Connection::abort(std::string_view reason) { close_start(reason); }

void Connection::pass_end(engine::PassEnd& end) {
    static_cast<ProceedAtPassEnd&>(end).connection->proceed();
}

void Connection::proceed() {
    if (state_ == State::closing) {
        if (parking_) service_.recount(*post);
        // What was released on the way here may have asked for another pass end.
        if (quiet() && !pass_end_.queued) service_.connection_gone(*this);
        return;
    }
    if (state_ == State::transmission && !transmission_->wants_input()) input_consume();
    if (starting_tls_ && !send_.busy && handshake_output_.pending().empty()) {
        starting_tls_ = false;
        tls_ = std::make_unique<TlsChannel>(*service_.options().tls_context);
    }
    if (state_ == State::handshake && handshake_output_.pending().empty()) input_consume();
    send_start();
    receive_start();
    hang_up_watch();
    end_when_done();
    if (!parking_) return;
    receive_cancel();
    service_.recount(*post);
}

// ---- In ----

void Connection::receive_start() {
    if (receive_.busy || input_ended_ || state_ == State::closing || input_begin_ != input_end_) {
        return;
    }
    input_begin_ = input_end_ = 0;
    io::Operation& operation = receive_.operation;
    operation = {.code = io::Operation::Code::receive,
                 .file = {socket_.get(), false},
                 .length = input_bytes,
                 .data = input_.get()};
    direct_bytes_ = 0;
    if (starting_tls_ || (transmission_ && !transmission_->wants_input())) return;
    if (refill()) return;
    if (tls_) {
        const std::span<std::byte> room = tls_->room();
        operation.data = room.data();
        operation.length = room.size();
    } else if (state_ == State::transmission) {
        const std::span<std::byte> room = transmission_->payload_room();
        if (!room.empty()) {
            direct_bytes_ = static_cast<u32>(room.size());
            receive_vectors_[0] = {room.data(), room.size()};
            receive_vectors_[1] = {input_.get(), input_bytes};
            receive_message_ = {};
            receive_message_.msg_iov = receive_vectors_.data();
            receive_message_.msg_iovlen = transmission_->payload_room_is_all() ? 2 : 1;
            operation.message = &receive_message_;
        }
    }
    submit(receive_, receive_on_socket);
}

void Connection::receive_on_socket(io::Completion& completion) {
    Connection& self = *static_cast<Step&>(completion).connection;
    self.receive_.busy = false;
    self.wake();
    if (self.state_ == State::closing) return;
    const i32 result = completion.result;
    if (result == -EINTR || result == -EAGAIN) return;
    // Any other cancelled receive is the end of the ring, or of the server.
    if (result == -ECANCELED && std::exchange(self.receive_cancelled_, false)) return;
    if (result < 0) return self.close_start(errno_text(-result));
    if (result == 0) return self.input_on_end();
    if (self.tls_) {
        self.tls_->received(static_cast<u32>(result));
        return self.input_consume();
    }
    const u32 direct = std::min(static_cast<u32>(result), self.direct_bytes_);
    if (direct > 0) self.transmission_->payload_received(direct);
    self.input_begin_ = 0;
    self.input_end_ = static_cast<u32>(result) - direct;
    self.input_consume();
}

// A client whose requests all wait for room is not read from, and its end would go unnoticed.
void Connection::hang_up_watch() {
    if (state_ != State::transmission || receive_.busy || input_ended_) return;
    if (hang_up_.busy || hung_up_) return;
    if (shard_.device().on_error() != engine::OnError::pause) return;
    hang_up_.operation = {.code = io::Operation::Code::hang_up, .file = {socket_.get(), false}};
    submit(hang_up_, hang_up_on_socket);
}

void Connection::hang_up_on_socket(io::Completion& completion) {
    Connection& self = *static_cast<Step&>(completion).connection;
    self.hang_up_.busy = false;
    self.hung_up_ = true;
    self.wake();
    if (self.state_ == State::transmission) self.transmission_->hung_up();
}

// What a client said to the last server comes first.
bool Connection::refill() {
    const std::size_t left = backlog_.size() - backlog_begin_;
    if (left == 0) return false;
    input_end_ = static_cast<u32>(std::min<std::size_t>(left, input_bytes));
    std::memcpy(input_.get(), backlog_.data() + backlog_begin_, input_end_);
    backlog_begin_ += input_end_;
    if (backlog_begin_ == backlog_.size()) {
        backlog_ = {};
        backlog_begin_ = 0;
    }
    input_consume();
    wake();
    return true;
}

// Bytes that came before it took effect are kept where they are.
void Connection::receive_cancel() {
    if (!receive_.busy || cancel_.busy || !transmission_ || transmission_->wants_input()) return;
    receive_cancelled_ = true;
    cancel_.operation = {.code = io::Operation::Code::cancel, .target = &receive_};
    submit(cancel_, cancel_on_kernel);
}

// Called with nothing left too: the handshake begins with a greeting, and a transmission that
// waited for slots finds out here whether it still does.
void Connection::input_consume() {
    do {
        plain_consume();
    } while (tls_ && decrypt());
}

// Whether there are plain bytes now that were not there before, or TLS is up just now.
bool Connection::decrypt() {
    const bool wanted = state_ == State::handshake ||
                        (state_ == State::transmission && transmission_->wants_input());
    if (!wanted || input_ended_ || input_begin_ != input_end_) return false;
    std::size_t got = 0;
    const bool was_up = tls_->up();
    const TlsChannel::Outcome outcome =
        was_up ? tls_->read({input_.get(), input_bytes}, got) : tls_->handshake();
    input_begin_ = 0;
    input_end_ = static_cast<u32>(got);
    if (got > 0) return true;
    switch (outcome) {
        case TlsChannel::Outcome::need_input:
        case TlsChannel::Outcome::need_room: return false;
        case TlsChannel::Outcome::closed: input_on_end(); return false;
        case TlsChannel::Outcome::failed: tls_on_failure(); return false;
        case TlsChannel::Outcome::done: break;
    }
    if (!was_up) negotiation_->tls_started();
    return true;
}

// The alert, if there is one, still goes out.
void Connection::tls_on_failure() {
    closing_reason_ = tls_->reason();
    input_ended_ = true;
    wake();
}

void Connection::plain_consume() {
    if (state_ == State::handshake) handshake_consume();
    if (state_ != State::transmission) return;
    input_begin_ += static_cast<u32>(transmission_->consume(input()));
    switch (transmission_->end()) {
        case Transmission::End::none: return;
        case Transmission::End::disconnect: input_ended_ = true; return;
        case Transmission::End::broken: close_start(transmission_->reason()); return;
    }
}

void Connection::input_on_end() {
    input_ended_ = true;
    if (state_ == State::handshake) return close_start("the client left during the handshake");
    transmission_->input_end();
}

void Connection::handshake_consume() {
    const Negotiation::Progress progress = negotiation_->consume(input(), handshake_output_);
    input_begin_ += static_cast<u32>(progress.consumed);
    switch (progress.event) {
        case Negotiation::Event::need_input:
        case Negotiation::Event::need_room: return;
        case Negotiation::Event::start_tls:
            // Whatever came in plaintext behind it is nobody's word (CVE-2021-3716).
            input_begin_ = input_end_ = 0;
            starting_tls_ = !tls_;
            return;
        case Negotiation::Event::transmission: {
            const Agreement agreement = negotiation_->agreement();
            negotiation_.reset();
            transmission_start(agreement);
            return;
        }
        case Negotiation::Event::close:
            closing_reason_ = negotiation_->reason();
            input_ended_ = true;
            return;
    }
}

void Connection::transmission_start(const Agreement& agreement) {
    deadline_cancel();
    const cgroup::Hierarchies* issuers = service_.options().issuers;
    const u64 cgroup = issuers ? issuers->of_peer(socket_.get()) : 0;
    transmission_ = Transmission::create(shard_, service_.survey(), agreement,
                                         service_.transmission_options(cgroup), pass_end_);
    if (!transmission_) return close_start("no memory for a connection");
    state_ = State::transmission;
    if (draining_) transmission_->shutdown_start();
    if (parking_) transmission_->pause();
    wake();
}

// ---- Out ----

void Connection::send_start() {
    if (send_.busy || state_ == State::closing) return;
    if (tls_) return send_encrypted();
    if (gather() > 0) send_submit();
}

void Connection::send_encrypted() {
    while (tls_->up()) {
        if (vector_begin_ == vector_count_ && gather() == 0) break;
        if (!tls_->write({vectors_.data(), vector_count_}, vector_begin_)) tls_on_failure();
        if (vector_begin_ < vector_count_) break;
        sent_all();
    }
    const Bytes cipher = tls_->output().pending();
    if (cipher.empty()) return;
    cipher_vector_ = {const_cast<std::byte*>(cipher.data()), cipher.size()};
    send_message_ = {};
    send_message_.msg_iov = &cipher_vector_;
    send_message_.msg_iovlen = 1;
    send_.operation = {.code = io::Operation::Code::send,
                       .file = {socket_.get(), false},
                       .message = &send_message_};
    submit(send_, send_on_socket);
}

void Connection::send_submit() {
    send_message_ = {};
    send_message_.msg_iov = &vectors_[vector_begin_];
    send_message_.msg_iovlen = vector_count_ - vector_begin_;
    send_.operation = {.code = io::Operation::Code::send,
                       .file = {socket_.get(), false},
                       .message = &send_message_};
    submit(send_, send_on_socket);
}

// Everything that may go now, in one message. Returns its bytes.
u64 Connection::gather() {
    vector_begin_ = vector_count_ = 0;
    sending_bytes_ = 0;
    handshake_sending_ = static_cast<u32>(handshake_output_.pending().size());
    if (handshake_sending_ > 0) {
        add_vector(const_cast<std::byte*>(handshake_output_.pending().data()), handshake_sending_);
    }
    if (!transmission_) return sending_bytes_;
    while (vector_count_ + slot_vectors_max <= vectors_max && sending_bytes_ < send_bytes_max) {
        Slot* slot = transmission_->outgoing();
        if (!slot) break;
        gather_slot(*slot);
        sending_.push(*slot);
    }
    return sending_bytes_;
}

void Connection::gather_slot(Slot& slot) {
    for (u32 i = 0; i < slot.fragment_count; ++i) {
        const Fragment& fragment = slot.fragments[i];
        add_vector(slot.head.data() + fragment.head_begin, fragment.head_bytes);
        add_vector(slot.buffer + fragment.data_begin, fragment.data_bytes);
    }
    for (Slot* piece = slot.collected; piece; piece = piece->link) {
        add_vector(piece->buffer, static_cast<u32>(piece->range.length));
    }
}

void Connection::add_vector(std::byte* data, u32 bytes) {
    if (bytes == 0) return;
    ASSERT(vector_count_ < vectors_max);
    vectors_[vector_count_++] = {data, bytes};
    sending_bytes_ += bytes;
}

void Connection::send_on_socket(io::Completion& completion) {
    Connection& self = *static_cast<Step&>(completion).connection;
    self.send_.busy = false;
    self.wake();
    const i32 result = completion.result;
    if (self.state_ == State::closing || (result < 0 && result != -EINTR && result != -EAGAIN)) {
        self.sent_all();
        // The client need not hear our answers.
        return self.close_start("the client does not take its replies any more");
    }
    const u64 taken = result < 0 ? 0 : static_cast<u64>(result);
    if (self.tls_) return self.tls_->output().take(taken);
    drop_front(self.vectors_.data(), self.vector_begin_, taken);
    if (self.vector_begin_ < self.vector_count_) return self.send_submit();
    self.sent_all();
}

void Connection::sent_all() {
    handshake_output_.take(std::exchange(handshake_sending_, 0));
    while (Slot* slot = sending_.pop()) transmission_->sent(*slot);
}

// ---- The deadline of the handshake ----

void Connection::deadline_start() {
    const u64 deadline_ms = service_.options().handshake_deadline_ms;
    deadline_.operation = {.code = io::Operation::Code::timeout,
                           .payload = {deadline_ms / 1000, deadline_ms % 1000 * 1'000'000}};
    submit(deadline_, deadline_on_clock);
}

void Connection::deadline_on_clock(io::Completion& completion) {
    Connection& self = *static_cast<Step&>(completion).connection;
    self.deadline_.busy = false;
    self.wake();
    if (self.state_ == State::handshake) self.close_start("the handshake took too long");
}

void Connection::deadline_cancel() {
    if (!deadline_.busy || cancel_.busy) return;
    cancel_.operation = {.code = io::Operation::Code::cancel, .target = &deadline_};
    submit(cancel_, cancel_on_kernel);
}

void Connection::cancel_on_kernel(io::Completion& completion) {
    Connection& self = *static_cast<Step&>(completion).connection;
    self.cancel_.busy = false;
    // It came too late.
    if (completion.result != 0) self.receive_cancelled_ = false;
    self.wake();
}

// ---- The end ----

void Connection::end_when_done() {
    if (state_ == State::closing || send_.busy) return;
    if (!input_ended_ && !draining_) return;
    if (!handshake_output_.pending().empty()) return;
    if (transmission_ && !transmission_->idle()) return;
    if (tls_) {
        // Without the goodbye the client could not tell our end from somebody's cut.
        const bool said = tls_->close_start();
        if (!tls_->output().pending().empty()) return send_encrypted();
        if (!said) return;
    }
    close_start(closing_reason_);
}

void Connection::close_start(std::string_view reason) {
    if (state_ == State::closing) return;
    if (state_ == State::handshake) {
        service_.note_failed_handshake(reason);
    } else {
        service_.note_broken(reason);
    }
    state_ = State::closing;
    if (transmission_) transmission_->abandon();
    if (!send_.busy) sent_all();
    // Ends what the ring still waits for on it.
    static_cast<void>(::shutdown(socket_.get(), SHUT_RDWR));
    deadline_cancel();
    wake();
}

bool Connection::quiet() const {
    return !receive_.busy && !send_.busy && !hang_up_.busy && !deadline_.busy && !cancel_.busy &&
           (!transmission_ || transmission_->idle());
}

void Connection::submit(Step& step, void (*done)(io::Completion&)) {
    ASSERT(!step.busy);
    step.busy = true;
    step.done = done;
    shard_.kernel().submit(step);
}

}  // namespace ringloop::nbd
