// Listening sockets as a Transport: whoever connects is a client. The sockets are bound before the
// server changes its mounts, and served from bring_up on; connections that come in between wait.
#pragma once

#include <string>
#include <vector>

#include "control/hand_over.h"
#include "control/listening.h"
#include "control/transport.h"

namespace ringloop::control {

class SocketTransport final : public Transport {
public:
    // Binds every address of `exported` and adds what was inherited, whose addresses are added to
    // `exported`; paths become absolute. `patience_ms`: see listening.h.
    static Result<std::unique_ptr<SocketTransport>> bind(ExportOptions& exported,
                                                         std::vector<Inherited> inherited,
                                                         u32 queues, u64 patience_ms);

    // What another server listened to at the addresses of `exported`, and its clients. Nothing of
    // it is touched before bring_up, so that the other one can go on.
    static std::unique_ptr<SocketTransport> take_over(const ExportOptions& exported,
                                                      std::vector<Listening> listeners,
                                                      std::vector<Estate::Client> clients,
                                                      u32 queues);

    const std::vector<Listening>& listeners() const { return sockets_; }

    // Of each address, in the order of `exported`.
    const std::vector<std::string>& uris() const { return uris_; }
    // In which it has made files that it removes; open as long as it lives.
    std::vector<int> folders() const;
    void use(nbd::Service& service) { service_ = &service; }  // before bring_up

    TransportChoice kind() const override { return TransportChoice::socket; }
    std::string device_path() const override { return uris_.front(); }
    u32 queues() const override { return queues_; }
    u32 depth() const override { return 0; }  // the service's own

    Status join(u32, engine::Shard&) override { return {}; }
    void leave(u32) override {}

    Status bring_up() override;
    Status stop() override;
    Status remove() override { return {}; }

private:
    explicit SocketTransport(u32 queues) : queues_(queues) {}
    void name_uris(const ExportOptions& exported);

    nbd::Service* service_ = nullptr;
    std::vector<Listening> sockets_;
    std::vector<Estate::Client> clients_;  // of another server, until bring_up
    std::vector<std::string> uris_;
    u32 queues_;
};

}  // namespace ringloop::control
