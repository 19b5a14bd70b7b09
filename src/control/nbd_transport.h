// /dev/nbdN as a Transport: the kernel's nbd driver is a client of ours over socketpairs.
// frontend/nbd/kernel_device.h tells how the driver behaves.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <vector>

#include "control/transport.h"
#include "frontend/nbd/kernel_device.h"

namespace ringloop::control {

class NbdTransport final : public Transport {
public:
    static Result<std::unique_ptr<Transport>> create(const DeviceOptions& options,
                                                     const TransportContext& context,
                                                     const Announce& announce);
    static Result<std::unique_ptr<Transport>> take_over(const DeviceState& state,
                                                        const TransportContext& context);
    ~NbdTransport() override;

    TransportChoice kind() const override { return TransportChoice::nbd; }
    std::string device_path() const override { return nbd::kernel_device_path(index_); }
    u32 queues() const override { return static_cast<u32>(links_.size()); }
    u32 depth() const override;
    u32 kernel_connections() const override { return links_in(Link::served); }

    // The service, which the driver's connections belong to, joins the shards.
    Status join(u32, engine::Shard&) override { return {}; }
    void leave(u32) override {}

    Status bring_up() override;
    Status attend() override;
    Status resize(u64 size_bytes) override;
    Status stop() override;
    Status remove() override;

private:
    enum class Ownership : u8 {
        connected,   // ours: undoing disconnects it
        taken_over,  // found: undoing leaves it to the next recover
        gone,
    };
    enum class Link : u8 {
        pending,  // the driver has its end, the service not yet ours
        served,
        ended,
    };

    NbdTransport(u32 index, std::string backend_identifier, std::size_t connections,
                 Ownership ownership, const TransportContext& context);
    Status connect(const DeviceOptions& options, const TransportContext& context,
                   const Announce& announce);
    Status connect_at(u32 index, const backing::Geometry& geometry);
    void serve(std::size_t link, UniqueFd socket);
    Status relink(std::size_t link);
    void link_on_ended(std::size_t link);
    bool links_end_within(std::chrono::milliseconds time);
    u32 links_in(Link state) const;

    nbd::Service& service_;
    u32 service_shards_;
    const Attention& attention_;
    u32 index_;
    std::string backend_identifier_;
    Ownership ownership_;
    std::vector<UniqueFd> sockets_;  // our ends, until the service has them

    mutable std::mutex mutex_;
    std::condition_variable ended_;
    std::vector<Link> links_;  // guarded by mutex_; the number of them is constant
};

// By which a device is told from one that got the same number later.
std::string new_backend_identifier();

// Whether the driver is there, or can be loaded, and this user may ask it.
Status nbd_usable();
// The one that create() would try first at this moment; nullopt: none is left.
std::optional<std::string> first_free_nbd_device();

bool nbd_device_exists(const DeviceState& state);
bool nbd_device_is_gone(const DeviceState& state);
// Of a device whose server is gone.
Status remove_nbd_remains(const DeviceState& state);

}  // namespace ringloop::control
