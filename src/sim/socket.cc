#include "sim/socket.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <utility>

#include "base/assert.h"

namespace ringloop::sim {
namespace {

using Code = io::Operation::Code;

constexpr u32 at_once = 250'000;  // no delay
constexpr u32 whole = 500'000;    // as many bytes as there are

std::span<iovec> vectors_of(io::Operation& operation, iovec& single) {
    if (operation.message) return {operation.message->msg_iov, operation.message->msg_iovlen};
    single = {operation.data, operation.length};
    return {&single, 1};
}

u64 length_of(std::span<const iovec> vectors) {
    u64 length = 0;
    for (const iovec& vector : vectors) length += vector.iov_len;
    return length;
}

}  // namespace

Socket::Socket(Machine& machine, const Options& options) : machine_(machine), options_(options) {
    ASSERT(options_.delay_ns_max > 0 && options_.window_bytes > 0);
    for (Wait* wait : {&receive_, &send_, &hang_up_, &tell_}) wait->socket = this;
    receive_.happen = receive_on_time;
    send_.happen = send_on_time;
    hang_up_.happen = hang_up_on_time;
    tell_.happen = tell_on_time;
}

Socket::~Socket() = default;

UniqueFd Socket::connect(Kernel& kernel) {
    ASSERT(!connected());
    int fds[2];
    ASSERT(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds) == 0);
    UniqueFd server(fds[0]);
    client_fd_.reset(fds[1]);
    server_fd_ = server.get();
    kernel_ = &kernel;
    kernel.attach(server_fd_, *this);
    in_.clear();
    out_.clear();
    in_begin_ = out_begin_ = 0;
    finished_ = cut_ = reset_ = shut_ = false;
    return server;
}

void Socket::disconnect() {
    ASSERT(connected() && !receive_.completion && !send_.completion && !hang_up_.completion);
    kernel_->detach(server_fd_);
    kernel_ = nullptr;
    client_fd_.reset();
    tell();
}

void Socket::kill() {
    for (Wait* wait : {&receive_, &send_, &hang_up_}) {
        if (wait->completion) end(*wait, -ECANCELED);
    }
}

// ---- The client's end ----

void Socket::say(std::span<const std::byte> bytes) {
    ASSERT(!finished_ && !cut_);
    in_.erase(in_.begin(), in_.begin() + static_cast<std::ptrdiff_t>(std::exchange(in_begin_, 0)));
    in_.insert(in_.end(), bytes.begin(), bytes.end());
    poke(receive_);
}

void Socket::unsay(u64 bytes) {
    ASSERT(bytes <= unheard());
    in_.resize(in_.size() - bytes);
}

void Socket::finish() {
    finished_ = true;
    poke(receive_);
    poke(hang_up_);
}

void Socket::cut() {
    cut_ = true;
    reset_ = machine_.prng.below(2) == 0;
    if (reset_) unsay(unheard());
    out_.clear();
    out_begin_ = 0;
    poke(receive_);
    poke(send_);
    poke(hang_up_);
}

std::span<const std::byte> Socket::heard() const { return std::span(out_).subspan(out_begin_); }

void Socket::take(u64 bytes) {
    ASSERT(bytes <= heard().size());
    out_begin_ += bytes;
    if (out_begin_ == out_.size()) {
        out_.clear();
        out_begin_ = 0;
    } else {
        tell();
    }
    poke(send_);
}

void Socket::tell() {
    if (!tell_.scheduled) machine_.timeline.after(delay(), tell_);
}

void Socket::tell_on_time(Event& event) {
    const Socket& self = *static_cast<Wait&>(event).socket;
    if (!self.cut_) self.options_.heard(self.options_.context);
}

void Socket::look() {
    if (!connected() || shut_) return;
    char byte;
    if (::recv(client_fd_.get(), &byte, sizeof byte, MSG_PEEK | MSG_DONTWAIT) != 0) return;
    shut_ = true;
    poke(receive_);
    poke(send_);
    poke(hang_up_);
    tell();
}

// ---- The server's end ----

u64 Socket::delay() {
    Prng& prng = machine_.prng;
    return prng.chance(at_once) ? 0 : prng.skewed(1, options_.delay_ns_max);
}

// An operation that waits may be able to go on. What it can do is looked up when it does.
void Socket::poke(Wait& wait) {
    if (wait.completion && !wait.scheduled) machine_.timeline.after(delay(), wait);
}

void Socket::start(Kernel& kernel, io::Completion& completion) {
    if (kernel.dead()) return kernel.complete(completion, -ECANCELED);
    const Code code = completion.operation.code;
    ASSERT(&kernel == kernel_);
    ASSERT(code == Code::receive || code == Code::send || code == Code::hang_up);
    Wait& wait = code == Code::receive ? receive_ : code == Code::send ? send_ : hang_up_;
    ASSERT(!wait.completion);
    wait.completion = &completion;
    poke(wait);
}

bool Socket::cancel(Kernel&, io::Completion& completion) {
    for (Wait* wait : {&receive_, &send_, &hang_up_}) {
        if (wait->completion != &completion) continue;
        end(*wait, -ECANCELED);
        return true;
    }
    return false;
}

void Socket::end(Wait& wait, i32 result) {
    kernel_->complete(*std::exchange(wait.completion, nullptr), result);
}

bool Socket::disturb(Wait& wait) {
    if (!machine_.prng.chance(machine_.faults.interrupted)) return false;
    end(wait, machine_.prng.below(2) == 0 ? -EINTR : -EAGAIN);
    return true;
}

void Socket::receive_on_time(Event& event) {
    Wait& wait = static_cast<Wait&>(event);
    if (wait.completion) wait.socket->receive();
}

void Socket::send_on_time(Event& event) {
    Wait& wait = static_cast<Wait&>(event);
    if (wait.completion) wait.socket->send();
}

void Socket::hang_up_on_time(Event& event) {
    Wait& wait = static_cast<Wait&>(event);
    if (wait.completion) wait.socket->hang_up();
}

void Socket::hang_up() {
    if (finished_ || cut_ || shut_) end(hang_up_, POLLRDHUP);
}

void Socket::receive() {
    if (shut_) return end(receive_, 0);
    if (unheard() == 0) {
        if (cut_) return end(receive_, reset_ ? -ECONNRESET : 0);
        if (finished_) end(receive_, 0);
        return;
    }
    if (disturb(receive_)) return;
    iovec single;
    const auto vectors = vectors_of(receive_.completion->operation, single);
    u64 bytes = std::min(unheard(), length_of(vectors));
    if (!machine_.prng.chance(whole)) bytes = machine_.prng.skewed(1, bytes);
    u64 moved = 0;
    for (const iovec& vector : vectors) {
        const u64 part = std::min<u64>(vector.iov_len, bytes - moved);
        if (part > 0) std::memcpy(vector.iov_base, &in_[in_begin_ + moved], part);
        moved += part;
    }
    in_begin_ += bytes;
    end(receive_, static_cast<i32>(bytes));
}

void Socket::send() {
    if (shut_ || cut_) return end(send_, reset_ ? -ECONNRESET : -EPIPE);
    if (heard().size() >= options_.window_bytes) return;
    if (disturb(send_)) return;
    iovec single;
    const auto vectors = vectors_of(send_.completion->operation, single);
    u64 bytes = std::min(length_of(vectors), options_.window_bytes - heard().size());
    if (!machine_.prng.chance(whole)) bytes = machine_.prng.skewed(1, bytes);
    out_.erase(out_.begin(),
               out_.begin() + static_cast<std::ptrdiff_t>(std::exchange(out_begin_, 0)));
    u64 left = bytes;
    for (const iovec& vector : vectors) {
        const u64 part = std::min<u64>(vector.iov_len, left);
        const auto* data = static_cast<const std::byte*>(vector.iov_base);
        out_.insert(out_.end(), data, data + part);
        left -= part;
    }
    end(send_, static_cast<i32>(bytes));
    tell();
}

}  // namespace ringloop::sim
