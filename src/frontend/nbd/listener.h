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
    // Accepts nothing for a while; the service is told of what changes (listener_parked).
    void park();
    void unpark();
    // Whether a client may come yet.
    bool accepting() const { return accept_.busy; }
    int socket() const { return socket_.get(); }
    // Accepts no more; the service is told when nothing of it is in flight.
    void stop();

private:
    struct Step : io::Completion {
        Listener* listener = nullptr;
        bool busy = false;
    };

    void accept_start();
    static void accept_on_socket(io::Completion& completion);
    Step* waiting() { return accept_.busy ? &accept_ : pause_.busy ? &pause_ : nullptr; }
    void cancel(Step& waiting);
    void pause_start();
    static void pause_on_clock(io::Completion& completion);
    static void cancel_on_kernel(io::Completion& completion);
    void end_when_quiet();

    Service& service_;
    const UniqueFd socket_;
    engine::Shard* shard_ = nullptr;
    bool parked_ = false;
    bool stopping_ = false;
    bool ended_ = false;
    bool broken_ = false;  // the socket accepts nothing any more
    Step accept_;
    Step pause_;
    Step cancel_;
};

}  // namespace ringloop::nbd
