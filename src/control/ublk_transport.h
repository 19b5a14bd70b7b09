// /dev/ublkbN as a Transport. Documentation/block/ublk.rst.
#pragma once

#include <chrono>
#include <condition_variable>
#include <mutex>
#include <vector>

#include "control/transport.h"
#include "frontend/ublk/control.h"
#include "frontend/ublk/queue.h"

namespace ringloop::control {

class UblkTransport final : public Transport {
public:
    static Result<std::unique_ptr<Transport>> create(const DeviceOptions& options,
                                                     const TransportContext& context,
                                                     const Announce& announce);
    static Result<std::unique_ptr<Transport>> take_over(const DeviceState& state,
                                                        const TransportContext& context);
    ~UblkTransport() override;

    TransportChoice kind() const override { return TransportChoice::ublk; }
    std::string device_path() const override { return ublk::block_device_path(info_.id); }
    u32 queues() const override { return info_.queues; }
    u32 depth() const override { return info_.depth; }
    u64 buffer_bytes_max() const override {
        return u64{info_.queues} * info_.depth * info_.io_bytes_max;
    }

    Status join(u32 index, engine::Shard& shard) override;
    void leave(u32 index) override;

    Status bring_up() override;
    Status may_resize() override;
    Status resize(u64 size_bytes) override;
    Status stop() override;
    Status remove() override;

private:
    enum class Ownership : u8 {
        added,       // ours: undoing deletes it
        taken_over,  // found: undoing leaves it to the next recover
        gone,
    };

    UblkTransport(ublk::Control control, const ublk::DeviceInfo& info, Ownership ownership,
                  const TransportContext& context);
    Status prepare(const backing::Geometry& geometry);
    Status watch_issuers();
    static void queue_on_closed(void* transport);
    bool queues_close_within(std::chrono::milliseconds time);

    ublk::Control control_;
    ublk::DeviceInfo info_;
    Ownership ownership_;
    u32 sector_size_;
    cgroup::Issuers* issuers_;                          // null: nobody asks for them
    UniqueFd char_fd_;                                  // /dev/ublkcN; outlives the queues
    std::vector<std::unique_ptr<ublk::Queue>> queues_;  // each touched by its shard's thread only

    std::mutex mutex_;
    std::condition_variable closed_;
    u32 queues_open_ = 0;  // guarded by mutex_
};

// The one that create() would try first at this moment; nullopt: none is left.
std::optional<std::string> first_free_ublk_device();

// Whether the driver is there, or can be loaded, and this user may ask it.
Status ublk_usable();

// The ordinary user who has added "ublkb0"; nullopt: nobody, or it cannot be known.
std::optional<ublk::Owner> user_of_ublk_device(const std::string& disk);

bool ublk_device_is_gone(const DeviceState& state);
bool ublk_device_exists(const DeviceState& state);
// Of a device whose server is gone.
Result<Remains> ublk_remains_of(const DeviceState& state);
Status remove_ublk_remains(const DeviceState& state);

}  // namespace ringloop::control
