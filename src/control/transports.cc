#include "control/transports.h"

#include <algorithm>

#include "base/assert.h"

namespace ringloop::control {
namespace {

// A client that takes no answers is cut off after half of it.
constexpr u64 drain_timeout_ms = 10'000;

}  // namespace

Result<ServiceSettings> ServiceSettings::create(const ExportOptions& options, u32 depth,
                                                const cgroup::Hierarchies* issuers) {
    ServiceSettings settings;
    if (options.tls != nbd::TlsMode::off) {
        auto context = nbd::TlsContext::create({.certificates_dir = options.tls_certificates,
                                                .psk_file = options.tls_psk,
                                                .authorized = options.tls_authorize});
        if (!context) return std::unexpected(std::move(context).error());
        settings.tls_ = std::move(*context);
    }
    settings.options_ = {.export_name = options.name,
                         .description = options.description,
                         .tls = options.tls,
                         .tls_context = settings.tls_.get(),
                         .connections_max = options.connections_max,
                         .handshake_deadline_ms = u64{options.handshake_timeout_s} * 1000,
                         .request_bytes_max = static_cast<u32>(options.request_bytes_max),
                         .depth = std::min(depth, nbd::depth_max),
                         .in_flight_bytes = options.in_flight_bytes,
                         .issuers = issuers};
    return settings;
}

nbd::Service& Transports::make_service(engine::Device& device, const nbd::ServiceOptions& options,
                                       u32 shards) {
    ASSERT(!service_ && shards > 0);
    service_ = std::make_unique<nbd::Service>(device, options, shards);
    service_shards_ = shards;
    service_depth_ = options.depth;
    return *service_;
}

void Transports::add(std::unique_ptr<Transport> transport) {
    transports_.push_back(std::move(transport));
}

u32 Transports::queues() const {
    u32 queues = std::max(service_shards_, 1U);
    for (const auto& transport : transports_) queues = std::max(queues, transport->queues());
    return queues;
}

u32 Transports::depth() const {
    u32 depth = service_depth_;
    for (const auto& transport : transports_) depth += transport->depth();
    return depth;
}

// Each connection of the service brings its own slots.
u32 Transports::slots() const {
    u32 slots = 0;
    for (const auto& transport : transports_) {
        if (transport->kind() == TransportChoice::ublk) slots += transport->depth();
    }
    return slots;
}

u64 Transports::buffer_bytes_max() const {
    u64 bytes = service_ ? service_->buffer_bytes_max() : 0;
    for (const auto& transport : transports_) bytes += transport->buffer_bytes_max();
    return bytes;
}

std::optional<nbd::ServiceCounts> Transports::clients() const {
    if (!service_) return std::nullopt;
    nbd::ServiceCounts counts = service_->counts();
    for (const auto& transport : transports_) {
        counts.connections -= std::min(counts.connections, transport->kernel_connections());
    }
    return counts;
}

Status Transports::join(u32 index, engine::Shard& shard) {
    if (service_ && index < service_shards_) service_->join(index, shard);
    for (auto transport = transports_.begin(); transport != transports_.end(); ++transport) {
        if (index >= (*transport)->queues()) continue;
        if (Status joined = (*transport)->join(index, shard); !joined) {
            while (transport != transports_.begin()) {
                --transport;
                if (index < (*transport)->queues()) (*transport)->leave(index);
            }
            if (service_ && index < service_shards_) service_->leave(index);
            return joined;
        }
    }
    return {};
}

void Transports::leave(u32 index) {
    for (const auto& transport : transports_) {
        if (index < transport->queues()) transport->leave(index);
    }
    if (service_ && index < service_shards_) service_->leave(index);
}

Status Transports::bring_up() {
    brought_up_ = true;
    for (const auto& transport : transports_) TRY(transport->bring_up());
    return {};
}

Status Transports::attend() {
    for (const auto& transport : transports_) TRY(transport->attend());
    return {};
}

Status Transports::may_resize() {
    for (const auto& transport : transports_) TRY(transport->may_resize());
    return {};
}

Status Transports::resize(u64 size_bytes) {
    for (const auto& transport : transports_) TRY(transport->resize(size_bytes));
    return {};
}

// The kernel's driver disconnects first, so that what it still has in flight is answered.
Status Transports::stop() {
    for (const auto& transport : transports_) TRY(transport->stop());
    if (!service_ || !brought_up_ || service_->drain(drain_timeout_ms)) return {};
    return fail(
        ETIMEDOUT,
        "the image does not answer the requests of NBD clients; see that its disk or server does");
}

Status Transports::remove() {
    Status status;
    for (const auto& transport : transports_) {
        if (Status removed = transport->remove(); status && !removed) status = std::move(removed);
    }
    return status;
}

}  // namespace ringloop::control
