#include "engine/survey.h"

#include <sys/prctl.h>

namespace ringloop::engine {

Survey::Survey(const backing::Backing& backing) : backing_(backing), thread_([this] { serve(); }) {}

Survey::~Survey() {
    stopping_.store(true, std::memory_order_release);
    bell_.fetch_add(1, std::memory_order_release);
    bell_.notify_one();
    thread_.join();
    ASSERT(asked_.load() == nullptr);
}

void Survey::ask(Question& question) {
    ASSERT(question.shard != nullptr && question.look != nullptr && question.run != nullptr);
    Message* head = asked_.load(std::memory_order_relaxed);
    do {
        question.next = head;
    } while (!asked_.compare_exchange_weak(head, &question, std::memory_order_release,
                                           std::memory_order_relaxed));
    bell_.fetch_add(1, std::memory_order_release);
    bell_.notify_one();
}

void Survey::run(const Call& call) {
    call_.store(&call, std::memory_order_release);
    bell_.fetch_add(1, std::memory_order_release);
    bell_.notify_one();
    call_.wait(&call, std::memory_order_acquire);
}

void Survey::serve() {
    ::prctl(PR_SET_NAME, "ringloop-survey");
    for (;;) {
        const u32 heard = bell_.load(std::memory_order_acquire);
        if (const Call* call = call_.load(std::memory_order_acquire)) {
            call->function(call->context);
            call_.store(nullptr, std::memory_order_release);
            call_.notify_one();
        }
        // In no order: questions in flight together have none.
        Message* message = asked_.exchange(nullptr, std::memory_order_acquire);
        while (message) {
            auto& question = static_cast<Question&>(*std::exchange(message, message->next));
            question.next = nullptr;
            {
                // The whole answer is of one image.
                const std::lock_guard lock(backing_.searching());
                question.look(question, backing_);
            }
            question.shard->post(question);
        }
        if (stopping_.load(std::memory_order_acquire)) return;
        bell_.wait(heard, std::memory_order_acquire);
    }
}

}  // namespace ringloop::engine
