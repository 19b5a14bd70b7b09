// The service on real rings, with the test as its clients.
#include "frontend/nbd/service.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <latch>
#include <semaphore>
#include <span>
#include <thread>

#include "engine/freeze.h"
#include "frontend/nbd/test_client.h"
#include "io/uring.h"

namespace ringloop::nbd {
namespace {

using namespace test;

constexpr u64 image_bytes = 64 * mib;
constexpr int patience_ms = 20'000;

// A connected socket that a test reads and writes, with a limit to how long it waits.
class Client {
public:
    explicit Client(UniqueFd socket) : socket_(std::move(socket)) {}

    void say(const Script& script) const {
        const ssize_t sent =
            ::send(socket_.get(), script.str().data(), script.size(), MSG_NOSIGNAL);
        EXPECT_EQ(sent, static_cast<ssize_t>(script.size()));
    }
    // Up to `bytes`: fewer when the server has closed, or says nothing for too long.
    std::string hear(std::size_t bytes) const {
        std::string heard(bytes, '\0');
        std::size_t got = 0;
        while (got < bytes) {
            pollfd ready{.fd = socket_.get(), .events = POLLIN, .revents = 0};
            if (::poll(&ready, 1, patience_ms) <= 0) break;
            const ssize_t part = ::recv(socket_.get(), heard.data() + got, bytes - got, 0);
            if (part <= 0) break;
            got += static_cast<std::size_t>(part);
        }
        heard.resize(got);
        return heard;
    }
    bool is_closed() const { return hear(1).empty(); }
    bool is_quiet() const {
        pollfd ready{.fd = socket_.get(), .events = POLLIN, .revents = 0};
        return ::poll(&ready, 1, 0) == 0;
    }
    void leave() { socket_.reset(); }

private:
    UniqueFd socket_;
};

class ServiceTest : public ::testing::Test {
protected:
    static constexpr u32 shards_count = 2;

    void begin(ServiceOptions options = {}) {
        char path[] = "/var/tmp/ringloop-service-XXXXXX";
        const UniqueFd fd(::mkostemp(path, O_CLOEXEC));
        ASSERT_EQ(::ftruncate(fd.get(), static_cast<off_t>(image_bytes)), 0);
        auto opened = backing::Backing::open({.path = path, .byte_granular = true});
        ::unlink(path);
        ASSERT_TRUE(opened.has_value());
        backing_ = std::move(*opened);
        device_.emplace(*backing_);
        service_.emplace(*device_, std::move(options), shards_count);
        std::latch serving(shards_count);
        for (u32 index = 0; index < shards_count; ++index) {
            threads_.emplace_back([this, index, &serving] { serve(index, serving); });
        }
        serving.wait();
    }

    void serve(u32 index, std::latch& serving) {
        auto ring = io::Uring::create({.entries = 64});
        ASSERT_TRUE(ring.has_value());
        auto shard = engine::Shard::create(**ring, *device_, 0);
        ASSERT_TRUE(shard.has_value());
        shards_[index] = shard->get();
        service_->join(index, **shard);
        serving.count_down();
        (*shard)->run();
        service_->leave(index);
    }

    Client listen_and_connect() {
        if (!listening_) {
            const int fd = ::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
            address_.sun_family = AF_UNIX;
            ::bind(fd, reinterpret_cast<sockaddr*>(&address_), sizeof(sa_family_t));
            ::getsockname(fd, reinterpret_cast<sockaddr*>(&address_), &address_length_);
            ::listen(fd, 16);
            listening_ = true;
            service_->listen(UniqueFd(fd));
        }
        UniqueFd socket(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
        EXPECT_EQ(::connect(socket.get(), reinterpret_cast<sockaddr*>(&address_), address_length_),
                  0);
        return Client(std::move(socket));
    }

    // As the kernel's driver has it: no handshake.
    Client adopt(std::function<void()> on_ended = {}) {
        int fds[2];
        EXPECT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
        service_->adopt(UniqueFd(fds[0]), Service::Begin::transmission, 1, std::move(on_ended));
        return Client(UniqueFd(fds[1]));
    }

    // As the control thread does it.
    void resize(u64 bytes) {
        engine::Freeze freeze(shards_);
        ASSERT_TRUE(freeze.wait(patience_ms));
        backing_->resize(bytes);
    }
    // The size that a new client is told.
    static u64 size_told(const Client& client) {
        client.say(hello().option(wire::option_export_name));
        const std::string heard =
            client.hear(sizeof(wire::Greeting) + sizeof(wire::ExportNameReply));
        Reader reader(std::as_bytes(std::span(heard)).subspan(sizeof(wire::Greeting)));
        wire::ExportNameReply reply;
        EXPECT_TRUE(reader.take(reply));
        return reply.size;
    }
    static wire::Error answer_to(const Client& client, const Script& request) {
        client.say(request);
        const std::string heard = client.hear(sizeof(wire::SimpleReply));
        Reader reader(std::as_bytes(std::span(heard)));
        wire::SimpleReply reply;
        EXPECT_TRUE(reader.take(reply));
        return static_cast<wire::Error>(u32{reply.error});
    }

    static Script request(u16 type, u64 cookie, u64 offset, u32 length) {
        return Script().put(
            wire::Request{.type = type, .cookie = cookie, .offset = offset, .length = length});
    }

    void TearDown() override {
        if (!service_) return;
        EXPECT_TRUE(service_->drain(patience_ms));
        EXPECT_EQ(service_->counts().connections, 0u);
        for (engine::Shard* shard : shards_) shard->stop();
        for (std::thread& thread : threads_) thread.join();
    }

    std::unique_ptr<backing::Backing> backing_;
    std::optional<engine::Device> device_;
    std::optional<Service> service_;
    std::array<engine::Shard*, shards_count> shards_{};
    std::vector<std::thread> threads_;
    bool listening_ = false;
    sockaddr_un address_{};
    socklen_t address_length_ = sizeof address_;
};

TEST_F(ServiceTest, WhatOneConnectionWroteAnotherReads) {
    begin();
    const Client one = adopt();
    const Client other = adopt();
    one.say(request(wire::command_write, 1, 5000, 3).text("abc"));
    EXPECT_EQ(one.hear(sizeof(wire::SimpleReply)).size(), sizeof(wire::SimpleReply));
    other.say(request(wire::command_flush, 2, 0, 0));
    EXPECT_EQ(other.hear(sizeof(wire::SimpleReply)).size(), sizeof(wire::SimpleReply));
    other.say(request(wire::command_read, 3, 4999, 5));
    EXPECT_EQ(other.hear(sizeof(wire::SimpleReply) + 5).substr(sizeof(wire::SimpleReply)),
              std::string("\0abc\0", 5));
}

TEST_F(ServiceTest, AGoodbyeEndsTheConnectionAndTellsItsOwner) {
    begin();
    std::binary_semaphore ended(0);
    const Client client = adopt([&ended] { ended.release(); });
    client.say(request(wire::command_disconnect, 1, 0, 0));
    EXPECT_TRUE(client.is_closed());
    ended.acquire();
}

TEST_F(ServiceTest, GarbageEndsTheConnection) {
    begin();
    const Client client = adopt();
    client.say(Script().fill(100, 'x'));
    EXPECT_TRUE(client.is_closed());
}

TEST_F(ServiceTest, AListenerGreetsAndEveryOptionIsAnswered) {
    begin();
    const Client client = listen_and_connect();
    EXPECT_EQ(client.hear(sizeof(wire::Greeting)).size(), sizeof(wire::Greeting));
    client.say(hello().text(Script().option(wire::option_abort).str()));
    EXPECT_EQ(client.hear(sizeof(wire::OptionReply)).size(), sizeof(wire::OptionReply));
    EXPECT_TRUE(client.is_closed());
}

TEST_F(ServiceTest, WhoSaysNothingIsCutOffAtTheDeadline) {
    begin({.handshake_deadline_ms = 50});
    const Client client = listen_and_connect();
    client.hear(sizeof(wire::Greeting));
    EXPECT_TRUE(client.is_closed());
    EXPECT_EQ(service_->counts().handshakes_failed, 1u);
}

TEST_F(ServiceTest, WhoComesWhenItIsFullWaitsForAPlace) {
    begin({.connections_max = 1});
    Client one = listen_and_connect();
    EXPECT_EQ(one.hear(sizeof(wire::Greeting)).size(), sizeof(wire::Greeting));
    const Client other = listen_and_connect();
    EXPECT_TRUE(other.is_quiet());
    one.leave();
    EXPECT_EQ(other.hear(sizeof(wire::Greeting)).size(), sizeof(wire::Greeting));
}

TEST_F(ServiceTest, WhoDoesNotReadItsRepliesIsCutOffByADrain) {
    begin();
    const Client client = adopt();
    // More than the socket holds, and nobody takes it.
    for (u64 i = 0; i < 64; ++i) client.say(request(wire::command_read, i, i * mib, 1 * mib));
    EXPECT_EQ(client.hear(1).size(), 1u);
    EXPECT_EQ(service_->counts().connections, 1u);
    EXPECT_TRUE(service_->drain(200));
    EXPECT_EQ(service_->counts().connections, 0u);
}

TEST_F(ServiceTest, BlockStatusTellsHoles) {
    begin();
    const Client client = listen_and_connect();
    client.hear(sizeof(wire::Greeting));
    client.say(hello()
                   .option(wire::option_structured_reply)
                   .option(wire::option_set_meta_context, query("", {"base:allocation"}))
                   .option(wire::option_go, choose("")));
    client.say(request(wire::command_block_status, 9, 0, 1 << 20));
    // The last 36 bytes: a chunk with one extent.
    constexpr std::size_t options_bytes =
        20 + (20 + 4 + 15 + 20) + (20 + sizeof(wire::InfoExport) + 20);
    constexpr std::size_t chunk_bytes =
        sizeof(wire::StructuredReply) + sizeof(wire::BlockStatus) + sizeof(wire::BlockDescriptor);
    const std::string heard = client.hear(options_bytes + chunk_bytes);
    ASSERT_EQ(heard.size(), options_bytes + chunk_bytes);
    Reader reader(std::as_bytes(std::span(heard)).last(sizeof(wire::BlockDescriptor)));
    wire::BlockDescriptor extent;
    ASSERT_TRUE(reader.take(extent));
    EXPECT_EQ(extent.length, 1u << 20);
    EXPECT_EQ(extent.flags, wire::state_hole | wire::state_zero);
}

TEST_F(ServiceTest, ANewSizeIsToldToThoseWhoComeLater) {
    begin();
    const Client early = listen_and_connect();
    EXPECT_EQ(size_told(early), image_bytes);
    resize(image_bytes / 2);
    const Client late = listen_and_connect();
    EXPECT_EQ(size_told(late), image_bytes / 2);
    using wire::Error;
    const u64 behind = image_bytes / 2;
    EXPECT_EQ(answer_to(early, request(wire::command_read, 1, behind, 512)), Error::einval);
    EXPECT_EQ(answer_to(early, request(wire::command_write_zeroes, 2, behind, 512)), Error::enospc);
    EXPECT_EQ(answer_to(early, request(wire::command_write_zeroes, 3, 0, 512)), Error::none);
    resize(image_bytes);
    EXPECT_EQ(answer_to(early, request(wire::command_write_zeroes, 4, behind, 512)), Error::none);
    EXPECT_EQ(answer_to(late, request(wire::command_write_zeroes, 5, behind, 512)), Error::enospc);
}

TEST_F(ServiceTest, TheKernelsDriverReachesWhatANewSizeAdds) {
    begin();
    const Client kernel = adopt();
    const Script behind = request(wire::command_write_zeroes, 1, image_bytes, 4096);
    EXPECT_EQ(answer_to(kernel, behind), wire::Error::enospc);
    resize(2 * image_bytes);
    EXPECT_EQ(answer_to(kernel, behind), wire::Error::none);
}

TEST_F(ServiceTest, ConnectionsAreSpreadOverTheShards) {
    begin();
    std::vector<Client> clients;
    for (u32 i = 0; i < 4; ++i) {
        clients.push_back(listen_and_connect());
        EXPECT_EQ(clients.back().hear(sizeof(wire::Greeting)).size(), sizeof(wire::Greeting));
    }
    EXPECT_EQ(service_->counts().connections, 4u);
    EXPECT_EQ(service_->counts().accepted, 4u);
}

// ---- Another server goes on ----

// A second service on the same shards, as the next server would be, and what is given to it.
class Successor {
public:
    Successor(engine::Device& device, std::span<engine::Shard* const> shards)
        : service_(device, {}, static_cast<u32>(shards.size())) {
        for (u32 index = 0; index < shards.size(); ++index) service_.join(index, *shards[index]);
    }
    void take_over(Service& from) {
        for (Service::Held& held : from.held()) {
            auto decoded = decode_carried(encode_carried({held.client}));
            ASSERT_TRUE(decoded.has_value());
            service_.take_over(UniqueFd(::fcntl(held.socket, F_DUPFD_CLOEXEC, 3)),
                               std::move(decoded->front()));
        }
    }
    void end() { EXPECT_TRUE(service_.drain(patience_ms)); }
    Service& service() { return service_; }

private:
    Service service_;
};

std::string bytes_of(std::size_t count) {
    std::string bytes;
    while (bytes.size() < count) bytes += fmt::format("{:08}", bytes.size());
    bytes.resize(count);
    return bytes;
}

// Whatever of a request has come when the server changes, none of its bytes is lost or done twice.
TEST_F(ServiceTest, AClientGoesOnWithTheNextServerFromAnyByte) {
    begin();
    constexpr u64 fua = wire::flag_fua;
    for (const u32 length : {512U, 20'000U, 700'000U}) {
        const std::string payload = bytes_of(length);
        auto write = wire::Request{.type = wire::command_write, .cookie = 7, .offset = 4096};
        write.flags = fua;
        write.length = length;
        const std::string said = Script().put(write).text(payload).str();
        for (const std::size_t cut :
             {std::size_t{0}, std::size_t{1}, std::size_t{27}, std::size_t{28}, std::size_t{29},
              said.size() / 2, said.size() - 1, said.size()}) {
            const Client client = listen_and_connect();
            size_told(client);
            client.say(Script(std::string_view(said).substr(0, cut)));
            const auto parked = service_->park(patience_ms);
            ASSERT_EQ(parked.parked, 1u) << length << " bytes, cut at " << cut;
            ASSERT_EQ(parked.busy, 0u);
            Successor next(*device_, shards_);
            next.take_over(*service_);
            client.say(Script(std::string_view(said).substr(cut)));
            EXPECT_EQ(client.hear(sizeof(wire::SimpleReply)).size(), sizeof(wire::SimpleReply));
            client.say(request(wire::command_read, 8, 4096, length));
            const std::string heard = client.hear(sizeof(wire::SimpleReply) + length);
            EXPECT_EQ(heard.substr(sizeof(wire::SimpleReply)), payload) << "cut at " << cut;
            next.end();
            service_->unpark();
            while (service_->counts().connections > 0) std::this_thread::yield();
        }
    }
}

// Nobody took over: the same clients go on here.
TEST_F(ServiceTest, WhoWasParkedForNothingGoesOn) {
    begin();
    const Client client = listen_and_connect();
    size_told(client);
    const std::string payload = bytes_of(300'000);
    client.say(request(wire::command_write, 1, 0, 300'000).text(payload.substr(0, 299'000)));
    for (int round = 0; round < 3; ++round) {
        EXPECT_EQ(service_->park(patience_ms).parked, 1u);
        const Client late = listen_and_connect();
        EXPECT_TRUE(late.is_quiet());
        service_->unpark();
        EXPECT_EQ(late.hear(sizeof(wire::Greeting)).size(), sizeof(wire::Greeting));
    }
    client.say(Script(payload.substr(299'000)));
    EXPECT_EQ(client.hear(sizeof(wire::SimpleReply)).size(), sizeof(wire::SimpleReply));
    client.say(request(wire::command_read, 2, 0, 300'000));
    EXPECT_EQ(client.hear(sizeof(wire::SimpleReply) + 300'000).substr(sizeof(wire::SimpleReply)),
              payload);
}

TEST_F(ServiceTest, WhoTakesNoRepliesCannotBeParked) {
    begin();
    const Client client = listen_and_connect();
    size_told(client);
    for (u64 i = 0; i < 64; ++i) client.say(request(wire::command_read, i, i * mib, 1 * mib));
    EXPECT_EQ(client.hear(1).size(), 1u);
    const auto parked = service_->park(100);
    EXPECT_EQ(parked.busy, 1u);
    EXPECT_EQ(parked.parked, 0u);
    EXPECT_TRUE(service_->held().empty());
    service_->unpark();
    constexpr std::size_t all = 64 * (sizeof(wire::SimpleReply) + mib);
    EXPECT_EQ(client.hear(all - 1).size(), all - 1);
}

}  // namespace
}  // namespace ringloop::nbd
