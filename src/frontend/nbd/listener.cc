#include "frontend/nbd/listener.h"

#include <cerrno>

#include "base/log.h"
#include "frontend/nbd/service.h"

namespace ringloop::nbd {
namespace {

// The process or the host is out of descriptors or memory; what frees some is not told to us.
constexpr u64 pause_s = 1;

bool is_shortage(i32 number) {
    return number == EMFILE || number == ENFILE || number == ENOBUFS || number == ENOMEM;
}

// Of the connection that was to be accepted, not of the socket: accept(2), "Error handling".
bool is_of_client(i32 number) {
    return number == EINTR || number == EAGAIN || number == ECONNABORTED || number == EPROTO ||
           number == EPERM || number == ENETDOWN || number == ENOPROTOOPT || number == EHOSTDOWN ||
           number == ENONET || number == EHOSTUNREACH || number == ENETUNREACH ||
           number == ECANCELED;
}

}  // namespace

Listener::Listener(Service& service, UniqueFd socket)
    : service_(service), socket_(std::move(socket)) {
    for (Step* step : {&accept_, &pause_, &cancel_}) step->listener = this;
}

Listener::~Listener() { ASSERT(!accept_.busy && !pause_.busy && !cancel_.busy); }

void Listener::start(engine::Shard& shard) {
    shard_ = &shard;
    accept_start();
}

void Listener::resume() { accept_start(); }

void Listener::accept_start() {
    if (accept_.busy || pause_.busy || parked_ || stopping_ || broken_ || service_.full()) {
        return;
    }
    accept_.operation = {.code = io::Operation::Code::accept, .file = {socket_.get(), false}};
    accept_.done = accept_on_socket;
    accept_.busy = true;
    shard_->kernel().submit(accept_);
}

void Listener::accept_on_socket(io::Completion& completion) {
    Listener& self = *static_cast<Step&>(completion).listener;
    self.accept_.busy = false;
    const i32 number = -completion.result;
    if (completion.result >= 0) {
        UniqueFd socket(completion.result);
        if (!self.stopping_) self.service_.place(std::move(socket));
    } else if (self.stopping_ || self.parked_ || is_of_client(number)) {
        // The next one, or none.
    } else if (is_shortage(number)) {
        log::warning("nbd: cannot accept a connection: {}; trying again every {} s",
                     errno_text(number), pause_s);
        self.pause_start();
    } else {
        log::error(
            "nbd: no more connections are accepted: {}; detach the device and attach its image "
            "again",
            errno_text(number));
        self.broken_ = true;
    }
    self.accept_start();
    if (self.parked_) self.service_.listener_parked();
    self.end_when_quiet();
}

void Listener::park() {
    parked_ = true;
    if (accept_.busy && !cancel_.busy) cancel(accept_);
}

void Listener::unpark() {
    parked_ = false;
    if (shard_) accept_start();
}

void Listener::cancel(Step& waiting) {
    cancel_.operation = {.code = io::Operation::Code::cancel, .target = &waiting};
    cancel_.done = cancel_on_kernel;
    cancel_.busy = true;
    shard_->kernel().submit(cancel_);
}

void Listener::pause_start() {
    pause_.operation = {.code = io::Operation::Code::timeout, .payload = {pause_s, 0}};
    pause_.done = pause_on_clock;
    pause_.busy = true;
    shard_->kernel().submit(pause_);
}

void Listener::pause_on_clock(io::Completion& completion) {
    Listener& self = *static_cast<Step&>(completion).listener;
    self.pause_.busy = false;
    self.accept_start();
    self.end_when_quiet();
}

void Listener::stop() {
    stopping_ = true;
    if (waiting() && !cancel_.busy) cancel(*waiting());
    end_when_quiet();
}

void Listener::cancel_on_kernel(io::Completion& completion) {
    Listener& self = *static_cast<Step&>(completion).listener;
    self.cancel_.busy = false;
    // What began after it was submitted.
    if (self.stopping_ && self.waiting()) {
        self.cancel(*self.waiting());
    } else if (self.parked_ && self.accept_.busy) {
        self.cancel(self.accept_);
    }
    self.end_when_quiet();
}

void Listener::end_when_quiet() {
    if (!stopping_ || ended_ || accept_.busy || pause_.busy || cancel_.busy) return;
    ended_ = true;
    service_.listener_gone();
}

}  // namespace ringloop::nbd
