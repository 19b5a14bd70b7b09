// A listening socket on the first shard's ring.
#pragma once

#include "base/unique_fd.h"
#include "engine/shard.h"

namespace ringloop::nbd {

class Service;

// Made by the control thread; everything else on the shard's thread.
class Listener {
public:
    Listener(Service& service, UniqueFd socket);
    ~Listener();

    void start(engine::Shard& shard);
    // A place has become free.
    void resume();
    // Accepts no more; the service is told when nothing of it is in flight.
    void stop();

private:
    struct Step : io::Completion {
        Listener* listener = nullptr;
        bool busy = false;
    };

    void accept_start();
    static void accept_on_socket(io::Completion& completion);
    void pause_start();
    static void pause_on_clock(io::Completion& completion);
    static void cancel_on_kernel(io::Completion& completion);
    void end_when_quiet();

    Service& service_;
    const UniqueFd socket_;
    engine::Shard* shard_ = nullptr;
    bool stopping_ = false;
    bool ended_ = false;
    bool broken_ = false;  // the socket accepts nothing any more
    Step accept_;
    Step pause_;
    Step cancel_;
};

}  // namespace ringloop::nbd
