// All transports of one device, and the NBD service that some of them share. The first names the
// device. Life and errors as of one Transport, see transport.h.
#pragma once

#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "control/transport.h"
#include "frontend/nbd/tls.h"

namespace ringloop::control {

// What an NBD service is made with; `depth` of one connection. Reads the keys of TLS, so while
// their paths still mean what they meant to whoever wrote them. Outlives the service.
// `issuers`: see nbd::ServiceOptions.
class ServiceSettings {
public:
    static Result<ServiceSettings> create(const ExportOptions& options, u32 depth,
                                          const cgroup::Hierarchies* issuers = nullptr);
    const nbd::ServiceOptions& options() const { return options_; }

private:
    nbd::ServiceOptions options_;
    std::unique_ptr<nbd::TlsContext> tls_;
};

class Transports {
public:
    Transports() = default;
    Transports(const Transports&) = delete;
    Transports& operator=(const Transports&) = delete;

    // At most one service, before the first transport that uses it and before the shards.
    nbd::Service& make_service(engine::Device& device, const nbd::ServiceOptions& options,
                               u32 shards);
    void add(std::unique_ptr<Transport> transport);

    nbd::Service* service() const { return service_.get(); }
    u32 service_shards() const { return service_shards_; }
    bool empty() const { return transports_.empty(); }
    const Transport& first() const { return *transports_.front(); }
    u32 queues() const;  // shards: the maximum
    u32 depth() const;   // requests in flight in one shard, as far as that is known at start
    u32 slots() const;   // of them, those that are set aside at start
    u64 buffer_bytes_max() const;  // of all requests in flight
    // Of those that came to a socket, without the kernel's driver; nullopt without sockets.
    std::optional<nbd::ServiceCounts> clients() const;

    Status join(u32 index, engine::Shard& shard);
    void leave(u32 index);

    Status bring_up();
    Status attend();
    Status may_resize();
    Status resize(u64 size_bytes);
    // The device has another image, or may be written no more; control thread.
    void image_changed() {
        if (service_) service_->image_changed();
    }
    Status stop();
    Status remove();

private:
    std::unique_ptr<nbd::Service> service_;  // outlives the transports
    u32 service_shards_ = 0;
    u32 service_depth_ = 0;
    bool brought_up_ = false;  // connections may exist
    std::vector<std::unique_ptr<Transport>> transports_;
};

}  // namespace ringloop::control
