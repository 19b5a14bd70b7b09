#include "control/socket_transport.h"

#include "base/assert.h"
#include "control/files.h"

namespace ringloop::control {
namespace {

Status keep_meaning(Address& address) {
    if (address.kind != Address::Kind::unix) return {};
    TRY(make_absolute(address.path));
    // With the folder it may be too long to be an address, or to be read back from the state file.
    const auto parsed = parse_address(to_text(address));
    if (!parsed) return std::unexpected(parsed.error());
    return {};
}

}  // namespace

Result<std::unique_ptr<SocketTransport>> SocketTransport::bind(ExportOptions& exported,
                                                               std::vector<Inherited> inherited,
                                                               u32 queues, u64 patience_ms) {
    std::unique_ptr<SocketTransport> transport(new SocketTransport(queues));
    const ListenOptions options{
        .local_only = !exported.insecure && exported.tls != nbd::TlsMode::required,
        .patience_ms = patience_ms};
    for (Address& address : exported.addresses) {
        TRY(keep_meaning(address));
        auto sockets = listen_on(address, options);
        if (!sockets) return std::unexpected(std::move(sockets).error());
        for (Listening& socket : *sockets) transport->sockets_.push_back(std::move(socket));
    }
    for (Inherited& socket : inherited) {
        exported.addresses.push_back(std::move(socket.address));
        transport->sockets_.emplace_back(std::move(socket.socket));
    }
    TRY(check_export_options(exported));
    transport->name_uris(exported);
    return transport;
}

std::unique_ptr<SocketTransport> SocketTransport::take_over(const ExportOptions& exported,
                                                            std::vector<Listening> listeners,
                                                            std::vector<Estate::Client> clients,
                                                            u32 queues) {
    std::unique_ptr<SocketTransport> transport(new SocketTransport(queues));
    transport->sockets_ = std::move(listeners);
    transport->clients_ = std::move(clients);
    transport->name_uris(exported);
    return transport;
}

void SocketTransport::name_uris(const ExportOptions& exported) {
    const UriParts parts{.export_name = exported.name,
                         .tls = exported.tls == nbd::TlsMode::required,
                         .vsock_cid = vsock_cid()};
    for (const Address& address : exported.addresses) {
        uris_.push_back(uri_of(address, parts));
    }
}

Status SocketTransport::bring_up() {
    ASSERT(service_);
    for (Estate::Client& client : std::exchange(clients_, {})) {
        service_->take_over(std::move(client.socket), std::move(client.client));
    }
    for (Listening& socket : sockets_) {
        socket.keep_file();
        service_->listen(socket.take_socket());
    }
    return {};
}

std::vector<int> SocketTransport::folders() const {
    std::vector<int> folders;
    for (const Listening& socket : sockets_) {
        if (socket.folder() >= 0) folders.push_back(socket.folder());
    }
    return folders;
}

// Nobody finds the sockets any more; the connections are ended by the service, for all transports
// at once.
Status SocketTransport::stop() {
    for (Listening& socket : sockets_) socket.remove_file();
    return {};
}

}  // namespace ringloop::control
