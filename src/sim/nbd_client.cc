#include "sim/nbd_client.h"

#include <algorithm>
#include <utility>

#include "base/assert.h"

namespace ringloop::sim {

namespace {

constexpr u32 at_once = 250'000;  // no delay
constexpr u32 whole = 500'000;    // all bytes that there are

}  // namespace

struct NbdClients::Client : Event {
    // away: no connection. leaving: says nothing more, but listens. lost: neither.
    enum class State : u8 { away, connected, leaving, lost };

    NbdClients* port = nullptr;
    u32 number = 0;
    State state = State::away;
    bool server_ended = false;  // the server's connection is gone
    bool owed = false;          // has left in a way that leaves every request to be answered
    std::unique_ptr<Socket> socket;
    std::unique_ptr<NbdSession> session;
};

NbdClients::NbdClients(Machine& machine, Audience& audience, const Options& options)
    : machine_(machine), audience_(audience), options_(options) {
    ASSERT(options_.delay_ns_max > 0);
    for (u32 i = 0; i < options_.connections; ++i) {
        clients_.push_back(std::make_unique<Client>());
        Client& client = *clients_.back();
        client.happen = client_on_time;
        client.port = this;
        client.number = i;
        client.socket = std::make_unique<Socket>(
            machine_, Socket::Options{.delay_ns_max = options_.delay_ns_max,
                                      .window_bytes = options_.window_bytes,
                                      .heard = client_on_bytes,
                                      .context = &client});
    }
}

NbdClients::~NbdClients() = default;

// ---- The lives of servers ----

void NbdClients::start(Server& server) {
    ASSERT(state_ == State::cleared);
    state_ = State::serving;
    server_ = &server;
    const auto shards = static_cast<u32>(server.seats.size());
    service_ = std::make_unique<nbd::Service>(
        *server.device,
        nbd::ServiceOptions{.export_name = "simulated",
                            .description = "an image that does not exist",
                            .depth = options_.server_depth,
                            .in_flight_bytes = nbd::in_flight_bytes_min},
        shards);
    for (u32 index = 0; index < shards; ++index) {
        service_->join(index, *server.seats[index].shard);
        markers_.push_back(std::make_unique<Marker>());
    }
    wake_all();
}

void NbdClients::send(Job& job) {
    ASSERT(state_ == State::serving);
    waiting_.push_back(&job);
    wake_all();
}

// Some servers are stopped before their clients have left.
void NbdClients::stop() {
    ASSERT(state_ == State::serving && waiting_.empty());
    state_ = State::stopping;
    const bool drains = machine_.prng.below(2) == 0;
    for (const auto& client : clients_) {
        if (client->state != Client::State::connected) continue;
        const u64 farewell = machine_.prng.below(drains ? 4 : 3);
        if (farewell < 3) leave(*client, static_cast<Farewell>(farewell));
    }
    // Nothing to wait for here: its threads are ours.
    if (drains) static_cast<void>(service_->drain(0));
    post_markers();
}

// What was posted must not outlive the service.
void NbdClients::post_markers() {
    for (std::size_t i = 0; i < markers_.size(); ++i) {
        Marker& marker = *markers_[i];
        ASSERT(!marker.posted);
        marker.posted = true;
        marker.run = [](engine::Message& message, engine::Shard&) {
            static_cast<Marker&>(message).posted = false;
        };
        server_->seats[i].shard->post(marker);
        server_->seats[i].kernel->nudge();
    }
}

bool NbdClients::ended() const {
    if (service_ && service_->counts().connections > 0) return false;
    if (std::ranges::any_of(markers_, [](const auto& marker) { return marker->posted; })) {
        return false;
    }
    return state_ == State::killed || std::ranges::all_of(clients_, [](const auto& client) {
               return client->state == Client::State::away;
           });
}

void NbdClients::killed(bool) {
    const bool stopping = state_ == State::stopping;
    state_ = State::killed;
    for (const auto& client : clients_) client->socket->kill();
    if (!stopping) post_markers();
}

void NbdClients::clear() {
    ASSERT(ended());
    for (u32 index = 0; index < markers_.size(); ++index) service_->leave(index);
    service_.reset();
    markers_.clear();
    server_ = nullptr;
    state_ = State::cleared;
    std::vector<Job*> lost(waiting_.begin(), waiting_.end());
    waiting_.clear();
    for (const auto& client : clients_) {
        if (client->session) {
            const std::vector<Job*> left = client->session->outstanding();
            lost.insert(lost.end(), left.begin(), left.end());
        }
        client->session.reset();
        client->server_ended = false;
        client->state = Client::State::away;
    }
    for (Job* job : lost) audience_.lost(*job);
}

void NbdClients::turned() {
    for (const auto& client : clients_) client->socket->look();
}

// ---- One client ----

u64 NbdClients::delay() {
    Prng& prng = machine_.prng;
    return prng.chance(at_once) ? 0 : prng.skewed(1, options_.delay_ns_max);
}

// There may be something to do for it, after a while; what, it finds out then.
void NbdClients::wake(Client& client) {
    if (!client.scheduled) machine_.timeline.after(delay(), client);
}

void NbdClients::wake_all() {
    for (const auto& client : clients_) {
        const bool waits = client->state == Client::State::away ||
                           (client->state == Client::State::connected && client->session->ready());
        if (waits) wake(*client);
    }
}

void NbdClients::client_on_time(Event& event) {
    Client& client = static_cast<Client&>(event);
    client.port->act(client);
}

void NbdClients::client_on_bytes(void* context) {
    Client& client = *static_cast<Client*>(context);
    client.port->hear(client);
}

void NbdClients::act(Client& client) {
    if (state_ == State::cleared || state_ == State::killed) return;
    if (client.server_ended) return hang_up(client);
    switch (client.state) {
        case Client::State::away:
            if (state_ == State::serving) connect(client);
            return;
        case Client::State::connected: return request(client);
        case Client::State::leaving:
        case Client::State::lost: return;
    }
}

void NbdClients::connect(Client& client) {
    const u64 index = machine_.prng.below(server_->seats.size());
    const auto manner = NbdSession::Manner::draw(machine_.prng);
    client.session = std::make_unique<NbdSession>(manner, machine_.prng);
    client.state = Client::State::connected;
    client.server_ended = false;
    client.owed = false;
    ++connected_;
    service_->adopt(
        client.socket->connect(*server_->seats[index].kernel),
        manner.handshake ? nbd::Service::Begin::handshake : nbd::Service::Begin::transmission,
        static_cast<u32>(index), [&client] { client.port->ended(client); });
    server_->seats[index].kernel->nudge();
    wake(client);
}

void NbdClients::request(Client& client) {
    NbdSession& session = *client.session;
    if (!session.ready()) {
        if (machine_.prng.chance(machine_.faults.connection_leaves)) leave(client, Farewell::cut);
        return;
    }
    if (waiting_.empty() || session.in_flight() >= options_.depth) return;
    session.request(*waiting_.front());
    waiting_.pop_front();
    say(client);
    if (machine_.prng.chance(machine_.faults.connection_leaves)) {
        return leave(client, static_cast<Farewell>(machine_.prng.below(3)));
    }
    wake(client);
}

void NbdClients::say(Client& client) {
    std::vector<std::byte>& output = client.session->output;
    if (client.state == Client::State::connected && !output.empty()) client.socket->say(output);
    output.clear();
}

void NbdClients::hear(Client& client) {
    if (client.state != Client::State::connected && client.state != Client::State::leaving) return;
    if (state_ == State::cleared || state_ == State::killed) return;
    const std::span<const std::byte> heard = client.socket->heard();
    if (!heard.empty()) {
        u64 bytes = heard.size();
        if (!machine_.prng.chance(whole)) bytes = machine_.prng.skewed(1, bytes);
        client.session->hear(heard.first(bytes));
        client.socket->take(bytes);
        say(client);
        answer(client);
    }
    if (!client.socket->hung_up()) return;
    check_end(client);
    client.state = Client::State::lost;
    wake(client);
}

void NbdClients::answer(Client& client) {
    if (!client.session->violation().empty()) violate(client, client.session->violation());
    const auto answers = std::exchange(client.session->answers, {});
    for (const NbdSession::Answer& answer : answers) audience_.answered(*answer.job, answer.error);
    if (client.state == Client::State::connected) wake(client);
}

// ---- The end of a connection ----

void NbdClients::leave(Client& client, Farewell farewell) {
    ++left_;
    machine_.trace.add({.at_ns = machine_.timeline.now_ns(),
                        .what = What::connection_cut,
                        .detail = static_cast<u8>(farewell),
                        .number = client.number});
    Socket& socket = *client.socket;
    // Within a request, or behind one.
    const u64 unsaid = machine_.prng.below(2) == 0 ? machine_.prng.below(socket.unheard() + 1) : 0;
    // In the handshake there is nothing to be polite about.
    if (farewell == Farewell::cut || !client.session->ready()) {
        socket.unsay(unsaid);
        socket.cut();
        client.state = Client::State::lost;
        return;
    }
    if (farewell == Farewell::disconnect) {
        client.session->disconnect();
        say(client);
        client.owed = true;
    } else {
        socket.unsay(unsaid);
        socket.finish();
        client.owed = unsaid == 0;
    }
    client.state = Client::State::leaving;
}

// The server's connection is being destroyed: from now on nothing of it can land.
void NbdClients::ended(Client& client) {
    client.server_ended = true;
    client.socket->disconnect();
    wake(client);
}

void NbdClients::hang_up(Client& client) {
    // What it has sent is still to be heard.
    const bool listens = client.state != Client::State::lost;
    if (listens && !client.socket->heard().empty()) return;
    if (listens) check_end(client);
    const std::vector<Job*> lost = client.session->outstanding();
    client.session.reset();
    client.server_ended = false;
    client.state = Client::State::away;
    for (Job* job : lost) audience_.lost(*job);
    if (state_ == State::serving) wake(client);
}

// The server has closed, and all that it sent before was heard.
void NbdClients::check_end(const Client& client) {
    if (state_ != State::serving) return;
    // Nothing that a client of ours does makes a server hang up on it.
    if (client.state == Client::State::connected) violate(client, "the server hung up");
    if (client.owed && client.session->in_flight() > 0) {
        violate(client, "the server left requests unanswered");
    }
}

void NbdClients::violate(const Client& client, const std::string& what) {
    if (violation_.empty()) {
        violation_ = "client " + std::to_string(client.number) + ": " + what;
    }
}

}  // namespace ringloop::sim
