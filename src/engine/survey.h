// Questions about the image that a filesystem answers only by a system call that may block: they
// are asked on a thread of its own, and the answer comes back to the shard as a message.
#pragma once

#include <atomic>
#include <thread>

#include "engine/shard.h"

namespace ringloop::engine {

class Survey {
public:
    // In place from ask until its `run` (of Message) is called on the shard that asked.
    struct Question : Message {
        Shard* shard = nullptr;                                      // that asks
        void (*look)(Question&, const backing::Backing&) = nullptr;  // on the survey's thread
    };

    explicit Survey(const backing::Backing& backing);
    // Every question has been answered.
    ~Survey();

    // Any thread.
    void ask(Question& question);

    // Calls `function` on the survey's thread, and returns when it has returned. Control thread.
    struct Call {
        void (*function)(void* context);
        void* context;
    };
    void run(const Call& call);

private:
    void serve();

    const backing::Backing& backing_;
    std::atomic<Message*> asked_ = nullptr;
    std::atomic<const Call*> call_ = nullptr;  // not run yet
    std::atomic<bool> stopping_ = false;
    std::atomic<u32> bell_ = 0;  // rung by ask and by the destructor
    std::thread thread_;
};

}  // namespace ringloop::engine
