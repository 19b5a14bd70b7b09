#include "control/control_socket.h"

#include <gtest/gtest.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include <cstring>
#include <thread>

#include "control/test_dir.h"

namespace ringloop::control {
namespace {

constexpr u64 patience_ms = 10'000;

class ControlSocketTest : public testing::Test {
protected:
    ControlSocketTest() : event_(::eventfd(0, EFD_CLOEXEC)) {
        auto listening = ControlSocket::listen(path_);
        EXPECT_TRUE(listening) << listening.error().message;
        socket_.emplace(std::move(*listening));
    }

    Conversation connect() const {
        auto server = Conversation::connect(path_);
        EXPECT_TRUE(server) << server.error().message;
        return std::move(*server);
    }

    // A connection below Conversation, for what a broken client may send.
    UniqueFd connect_raw() const {
        UniqueFd fd(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
        sockaddr_un address{};
        address.sun_family = AF_UNIX;
        std::memcpy(address.sun_path, path_.data(), path_.size());
        EXPECT_EQ(::connect(fd.get(), reinterpret_cast<sockaddr*>(&address), sizeof address), 0);
        return fd;
    }

    TestDir dir_;
    const std::string path_ = dir_ / "x.sock";
    UniqueFd event_;
    std::optional<ControlSocket> socket_;
};

TEST_F(ControlSocketTest, carries_a_question_and_its_answer) {
    Conversation client = connect();
    ASSERT_TRUE(client.ask("how are you?"));
    auto question = socket_->next(event_.get());
    ASSERT_TRUE(question && *question);
    EXPECT_EQ((*question)->text, "how are you?");
    EXPECT_FALSE(client.answered());
    answer(**question, "well");
    EXPECT_TRUE(client.answered());
    EXPECT_EQ(**client.answer(Deadline(patience_ms)), "well");
}

TEST_F(ControlSocketTest, carries_a_descriptor_with_a_question) {
    Conversation client = connect();
    {
        const UniqueFd file(::eventfd(7, EFD_CLOEXEC | EFD_NONBLOCK));
        ASSERT_TRUE(client.ask("take this", file.get()));
    }
    auto question = socket_->next(event_.get());
    ASSERT_TRUE(question && *question);
    EXPECT_EQ((*question)->text, "take this");
    u64 value = 0;
    ASSERT_TRUE((*question)->file);
    ASSERT_EQ(::read((*question)->file.get(), &value, sizeof value),
              static_cast<ssize_t>(sizeof value));
    EXPECT_EQ(value, 7u);
    Conversation plain = connect();
    ASSERT_TRUE(plain.ask("nothing with it"));
    question = socket_->next(event_.get());
    ASSERT_TRUE(question && *question);
    EXPECT_FALSE((*question)->file);
}

TEST_F(ControlSocketTest, returns_when_the_other_descriptor_is_readable) {
    const u64 one = 1;
    ASSERT_EQ(::write(event_.get(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
    const auto question = socket_->next(event_.get());
    ASSERT_TRUE(question);
    EXPECT_FALSE(*question);
}

TEST_F(ControlSocketTest, hears_a_question_while_the_other_descriptor_never_rests) {
    const u64 one = 1;
    ASSERT_EQ(::write(event_.get(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
    for (int i = 0; i < 3; ++i) {
        Conversation client = connect();
        ASSERT_TRUE(client.ask("anybody?"));
        bool heard = false;
        for (int turn = 0; turn < 4 && !heard; ++turn)
            heard = socket_->next(event_.get())->has_value();
        EXPECT_TRUE(heard);
    }
}

TEST_F(ControlSocketTest, looks_at_the_other_descriptor_while_questions_never_rest) {
    const u64 one = 1;
    ASSERT_EQ(::write(event_.get(), &one, sizeof one), static_cast<ssize_t>(sizeof one));
    std::vector<Conversation> clients;
    for (int i = 0; i < 8; ++i) {
        clients.push_back(connect());
        ASSERT_TRUE(clients.back().ask("me?"));
    }
    int others = 0;
    for (int turn = 0; turn < 8; ++turn) others += socket_->next(event_.get())->has_value() ? 0 : 1;
    EXPECT_GE(others, 4);
}

TEST_F(ControlSocketTest, is_for_its_owner_only) {
    struct stat status{};
    ASSERT_EQ(::stat(path_.c_str(), &status), 0);
    EXPECT_EQ(status.st_mode & 0777, 0600U);
}

TEST_F(ControlSocketTest, replaces_the_file_of_a_dead_server) {
    socket_.reset();
    EXPECT_EQ(Conversation::connect(path_).error().number, ECONNREFUSED);
    auto again = ControlSocket::listen(path_);
    ASSERT_TRUE(again) << again.error().message;
    EXPECT_TRUE(Conversation::connect(path_));
}

TEST_F(ControlSocketTest, drops_who_asks_too_much_and_serves_the_next) {
    const UniqueFd rude = connect_raw();
    const int size = 4 * static_cast<int>(message_bytes_max);
    ::setsockopt(rude.get(), SOL_SOCKET, SO_SNDBUF, &size, sizeof size);
    const std::string too_much(message_bytes_max + 1, 'x');
    ASSERT_EQ(::send(rude.get(), too_much.data(), too_much.size(), MSG_NOSIGNAL),
              static_cast<ssize_t>(too_much.size()));
    Conversation client = connect();
    ASSERT_TRUE(client.ask("me"));
    const auto question = socket_->next(event_.get());
    ASSERT_TRUE(question && *question);
    EXPECT_EQ((*question)->text, "me");
    char byte = 0;
    EXPECT_EQ(::recv(rude.get(), &byte, 1, 0), 0) << "hung up";
}

TEST_F(ControlSocketTest, drops_who_hangs_up_without_a_word) {
    {
        const UniqueFd silent = connect_raw();
    }
    Conversation client = connect();
    ASSERT_TRUE(client.ask("me"));
    const auto question = socket_->next(event_.get());
    ASSERT_TRUE(question && *question);
    EXPECT_EQ((*question)->text, "me");
}

TEST_F(ControlSocketTest, drops_the_oldest_of_too_many_who_say_nothing) {
    std::vector<UniqueFd> silent;
    for (u32 i = 0; i < clients_max; ++i) silent.push_back(connect_raw());
    std::thread server([this] {
        const auto question = socket_->next(event_.get());
        ASSERT_TRUE(question && *question);
        answer(**question, "you");
    });
    // Its place in the queue is free once the server has accepted the others.
    Result<Conversation> client = Conversation::connect(path_);
    wait_until(Deadline(patience_ms), [&] {
        if (!client) client = Conversation::connect(path_);
        return client.has_value();
    });
    ASSERT_TRUE(client);
    ASSERT_TRUE(client->ask("me"));
    EXPECT_EQ(**client->answer(Deadline(patience_ms)), "you");
    server.join();
}

TEST_F(ControlSocketTest, tells_a_client_that_the_server_ended_without_an_answer) {
    Conversation client = connect();
    ASSERT_TRUE(client.ask("stop"));
    {
        const auto question = socket_->next(event_.get());
    }
    const auto heard = client.answer(Deadline(patience_ms));
    ASSERT_TRUE(heard);
    EXPECT_FALSE(*heard);
}

TEST_F(ControlSocketTest, does_not_let_a_client_wait_for_ever) {
    Conversation client = connect();
    ASSERT_TRUE(client.ask("anybody?"));
    const auto heard = client.answer(Deadline(0));
    ASSERT_FALSE(heard);
    EXPECT_EQ(heard.error().number, ETIMEDOUT);
    EXPECT_FALSE(client.wait_for_exit(Deadline(0))) << "the server is this process, and lives";
}

}  // namespace
}  // namespace ringloop::control
