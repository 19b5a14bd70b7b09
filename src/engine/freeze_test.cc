// Freeze over real shards on real rings: no request is lost, none is in flight while it holds.
#include "engine/freeze.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>

#include <future>
#include <thread>

#include "io/uring.h"

namespace ringloop::engine {
namespace {

// A client that keeps one write in flight for ever, until told to end.
struct Writer : Request, Message {
    Shard* shard = nullptr;
    std::atomic<u64> answers = 0;
    std::atomic<u64> errors = 0;
    std::atomic<bool> ending = false;
    std::atomic<bool> ended = false;
    alignas(4096) std::array<std::byte, 4096> data{};

    void begin(Shard& on) {
        shard = &on;
        op = Op::write;
        range = {0, data.size()};
        buffer = data.data();
        done = [](Request& request) { static_cast<Writer&>(request).answered(); };
        run = [](Message& message, Shard& own) { own.submit(static_cast<Writer&>(message)); };
        on.post(*this);
    }
    void answered() {
        answers.fetch_add(1);
        if (result != Errno::ok) errors.fetch_add(1);
        if (ending.load()) {
            ended.store(true);
        } else {
            shard->submit(*this);
        }
    }
    // The last answer is still on its way when this is called.
    void end() {
        ending.store(true);
        while (!ended.load()) std::this_thread::yield();
    }
    void wait_for_answers(u64 more) const {
        for (const u64 from = answers.load(); answers.load() < from + more;) {
            std::this_thread::yield();
        }
    }
};

class FreezeTest : public ::testing::Test {
protected:
    void SetUp() override {
        char path[] = "/var/tmp/ringloop-freeze-XXXXXX";
        const UniqueFd fd(::mkostemp(path, O_CLOEXEC));
        ASSERT_EQ(::ftruncate(fd.get(), mib), 0);
        backing::Options options;
        options.path = path;
        auto opened = backing::Backing::open(options);
        ::unlink(path);
        ASSERT_TRUE(opened.has_value()) << opened.error().message;
        backing_ = std::move(*opened);
        device_ = std::make_unique<Device>(*backing_);
        for (std::size_t i = 0; i < threads_.size(); ++i) start_shard(i);
    }

    void start_shard(std::size_t index) {
        std::promise<Shard*> ready;
        auto started = ready.get_future();
        threads_[index] = std::thread([this, index, promise = std::move(ready)]() mutable {
            urings_[index] = std::move(*io::Uring::create({}));
            owned_[index] = std::move(*Shard::create(*urings_[index], *device_, 8));
            promise.set_value(owned_[index].get());
            owned_[index]->run();
        });
        shards_[index] = started.get();
    }

    void TearDown() override {
        for (Shard* shard : shards_) shard->stop();
        for (std::thread& thread : threads_) thread.join();
    }

    std::unique_ptr<backing::Backing> backing_;
    std::unique_ptr<Device> device_;
    std::array<std::thread, 2> threads_;
    // Outlive their threads: stop() may still be at work when a loop has ended.
    std::array<std::unique_ptr<io::Uring>, 2> urings_;
    std::array<std::unique_ptr<Shard>, 2> owned_;
    std::array<Shard*, 2> shards_{};
};

TEST_F(FreezeTest, HoldsEveryShardStillAndLosesNothing) {
    std::array<Writer, 2> writers;
    for (std::size_t i = 0; i < 2; ++i) writers[i].begin(*shards_[i]);
    for (u32 round = 0; round < 50; ++round) {
        for (const Writer& writer : writers) writer.wait_for_answers(2);
        Freeze freeze(shards_);
        ASSERT_TRUE(freeze.wait(10'000));
        const u64 first = writers[0].answers.load();
        const u64 second = writers[1].answers.load();
        EXPECT_EQ(writers[0].answers.load(), first);
        EXPECT_EQ(writers[1].answers.load(), second);
    }
    for (Writer& writer : writers) {
        writer.end();
        EXPECT_EQ(writer.errors.load(), 0u);
    }
}

TEST_F(FreezeTest, ThawsShardsThatNeverHadARequest) {
    for (u32 round = 0; round < 100; ++round) {
        Freeze freeze(shards_);
        ASSERT_TRUE(freeze.wait(10'000));
    }
}

}  // namespace
}  // namespace ringloop::engine
