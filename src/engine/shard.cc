#include "engine/shard.h"

#include <sched.h>
#include <sys/eventfd.h>

#include <cerrno>

#include "base/log.h"

namespace ringloop::engine {

Result<std::unique_ptr<Shard>> Shard::create(io::Kernel& kernel, Device& device, u32 requests_max,
                                             UniqueFd wakeup_fd) {
    auto handle = device.backing().open_handle(kernel);
    if (!handle) return std::unexpected(handle.error());
    if (!wakeup_fd) wakeup_fd.reset(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    if (!wakeup_fd) return fail_errno(errno, "cannot create an eventfd");
    auto shard = std::unique_ptr<Shard>(
        new Shard(kernel, device, std::move(*handle), std::move(wakeup_fd), requests_max));
    TRY(shard->dispatch_.settle());
    return shard;
}

Shard::Shard(io::Kernel& kernel, Device& device, backing::Handle handle, UniqueFd wakeup_fd,
             u32 requests_max)
    : kernel_(kernel),
      device_(device),
      handle_(std::move(handle)),
      wakeup_fd_(std::move(wakeup_fd)),
      dispatch_(kernel, device, handle_, stats_, requests_max, dispatch_on_answer, this),
      plug_(dispatch_.pool(), stats_),
      held_(
          kernel, [](void* shard) { static_cast<Shard*>(shard)->retry_held(); }, this),
      requests_reserved_(requests_max) {
    wakeup_.shard = this;
}

// Whoever posted last may still be waking a loop that has run the message already and ended.
Shard::~Shard() {
    ASSERT(idle());
    while (posting_.load(std::memory_order_acquire) != 0) ::sched_yield();
}

void Shard::run() {
    begin();
    while (turn(io::wait_forever_ns)) continue;
}

void Shard::begin() { wakeup_start(); }

bool Shard::turn(u64 wait_ns_max) {
    pass(wait_ns_max);
    if (!stopping_.load(std::memory_order_acquire) || !idle()) return true;
    // The read of the wakeup ends too before the ring may go away.
    if (!wakeup_.armed) return false;
    wake();
    return true;
}

void Shard::serve(Tenants& tenants) {
    tenants_ = &tenants;
    dispatch_.serve(&tenants);
}

void Shard::pass(u64 wait_ns_max) {
    const bool may_wait = !tenants_ || tenants_->about_to_wait();
    kernel_.run_once(may_wait ? wait_ns_max : 0);
    if (tenants_) tenants_->collect();
    pass_end();
}

void Shard::submit(Request& request) {
    ASSERT(!request.active && request.next == nullptr);
    request.active = true;
    request.started_ns = kernel_.now_ns();
    stats_.started.add(1);
    // What is written came by our own hand.
    if (tenants_ && request.op == Op::read && request.range.length > request.buffer_touched) {
        Buffers::touch(request.buffer, request.range.length);
        request.buffer_touched = request.range.length;
    }
    if (frozen_) {
        frozen_out_.push(request);
        return;
    }
    admit(request);
}

void Shard::admit(Request& request) {
    ++inflight_;
    request.result = device_.admit(request);
    const bool empty = request.op != Op::flush && request.range.length == 0;
    if (request.result != Errno::ok || empty) {
        answered_.push(request);
        return;
    }
    plug_.add(request);
}

// Answers, and dispatches what the pass brought in; answers may bring in more.
void Shard::pass_end() {
    stats_.passes.add(1);
    stats_.syscalls.raise_to(kernel_.syscalls());
    if (!held_.idle() && stopping_.load(std::memory_order_acquire)) {
        retry_held();  // for the last time
        held_.end();
    }
    while (!answered_.empty() || !plug_.empty() || !pass_ends_.empty()) {
        while (Request* request = answered_.pop()) finish(*request);
        TransferList transfers = plug_.unplug();
        while (Transfer* transfer = transfers.pop()) dispatch_.start(*transfer);
        while (PassEnd* end = pass_ends_.pop()) {
            end->queued = false;
            end->run(*end);
        }
    }
    if (frozen_ && on_frozen_ && inflight_ == 0) {
        auto* on_frozen = std::exchange(on_frozen_, nullptr);
        on_frozen(on_frozen_context_);
    }
}

void Shard::at_pass_end(PassEnd& end) {
    if (std::exchange(end.queued, true)) return;
    pass_ends_.push(end);
}

void Shard::reserve(u32 requests) {
    requests_reserved_ += requests;
    dispatch_.pool().grow_to(requests_reserved_);
}

void Shard::unreserve(u32 requests) {
    ASSERT(requests <= requests_reserved_);
    requests_reserved_ -= requests;
}

void Shard::dispatch_on_answer(void* shard, Request& request) {
    auto& self = *static_cast<Shard*>(shard);
    request.result == Errno::ok ? self.finish(request) : self.not_done(request);
}

// The image has not carried it out.
void Shard::not_done(Request& request) {
    if (device_.waits_for_room(request) && !stopping_.load(std::memory_order_acquire)) {
        if (!std::exchange(request.held, true)) device_.note_held(request.op, request.result);
        --inflight_;
        held_.add(request);
        return;
    }
    // That zeroes are not to be had quickly is an answer, not a failure.
    if (request.result != Errno::not_supported) device_.note_failure(request.op, request.result);
    finish(request);
}

void Shard::retry_held() {
    if (frozen_) return;
    RequestList held = held_.take();
    while (Request* request = held.pop()) admit(*request);
}

void Shard::answer_impatient() {
    RequestList impatient = held_.take_impatient();
    while (Request* request = impatient.pop()) {
        ++inflight_;
        answered_.push(*request);
    }
}

void Shard::finish(Request& request) {
    ASSERT(request.active && inflight_ > 0);
    OpStats& stats = stats_.of(request.op);
    stats.requests.add(1);
    stats.latency_ns.record(kernel_.now_ns() - request.started_ns);
    if (request.result == Errno::ok) {
        stats.bytes.add(request.range.length);
    } else {
        if (stats.errors.get() == 0) {
            log::warning("{}: {} of {} bytes at {} failed: {}; further ones are only counted",
                         device_.backing().path(), name_of(request.op), request.range.length,
                         request.range.offset, describe(request.result));
        }
        stats.errors.add(1);
    }
    stats_.finished.add(1);
    --inflight_;
    if (std::exchange(request.held, false)) device_.note_released();
    request.active = false;
    request.done(request);
}

void Shard::freeze(void (*on_frozen)(void*), void* context) {
    ASSERT(!frozen_);
    frozen_ = true;
    on_frozen_ = on_frozen;
    on_frozen_context_ = context;
}

void Shard::thaw() {
    ASSERT(frozen_);
    frozen_ = false;
    on_frozen_ = nullptr;
    if (Status settled = dispatch_.settle(); !settled) log::warning("{}", settled.error().message);
    retry_held();
    RequestList arrived = frozen_out_.take();
    while (Request* request = arrived.pop()) admit(*request);
}

Status Shard::take_spare(backing::Handle spare) {
    ASSERT(!spare_.buffered_fd);
    TRY(backing::Backing::register_files(kernel_, spare));
    spare_ = std::move(spare);
    return {};
}

bool Shard::idle() const {
    return inflight_ == 0 && frozen_out_.empty() && held_.idle() &&
           mailbox_.load(std::memory_order_acquire) == nullptr;
}

void Shard::post(Message& message) {
    posting_.fetch_add(1, std::memory_order_relaxed);
    Message* head = mailbox_.load(std::memory_order_relaxed);
    do {
        message.next = head;
    } while (!mailbox_.compare_exchange_weak(head, &message, std::memory_order_release,
                                             std::memory_order_relaxed));
    wake();
    posting_.fetch_sub(1, std::memory_order_release);
}

void Shard::stop() {
    posting_.fetch_add(1, std::memory_order_relaxed);
    stopping_.store(true, std::memory_order_release);
    wake();
    posting_.fetch_sub(1, std::memory_order_release);
}

void Shard::wake() {
    const u64 one = 1;
    // Fails only when 2^64-1 wakeups are pending, and then the loop is woken anyway.
    [[maybe_unused]] const ssize_t written = ::write(wakeup_fd_.get(), &one, sizeof one);
}

void Shard::wakeup_start() {
    wakeup_.operation = {.code = io::Operation::Code::read,
                         .when_readable = true,
                         .file = {wakeup_fd_.get(), false},
                         .offset = io::no_offset,
                         .length = sizeof wakeup_.count,
                         .data = reinterpret_cast<std::byte*>(&wakeup_.count)};
    wakeup_.done = wakeup_on_event;
    wakeup_.armed = true;
    kernel_.submit(wakeup_);
}

void Shard::wakeup_on_event(io::Completion& completion) {
    Shard& shard = *static_cast<Wakeup&>(completion).shard;
    shard.wakeup_.armed = false;
    // Newest first in the mailbox; run in the order of posting.
    Message* newest = shard.mailbox_.exchange(nullptr, std::memory_order_acquire);
    Message* oldest = nullptr;
    while (newest) {
        Message* message = std::exchange(newest, newest->next);
        message->next = oldest;
        oldest = message;
    }
    while (oldest) {
        Message* message = std::exchange(oldest, oldest->next);
        message->next = nullptr;
        message->run(*message, shard);
    }
    if (!shard.stopping_.load(std::memory_order_acquire) || !shard.idle()) shard.wakeup_start();
}

}  // namespace ringloop::engine
