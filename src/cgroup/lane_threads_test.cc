// A shard and a lane on threads and rings of their own, as in life: what the thread sanitizer is to
// look at, and whether nobody is left asleep.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/eventfd.h>

#include <atomic>
#include <cstring>
#include <random>
#include <thread>
#include <vector>

#include "cgroup/lane_process.h"
#include "cgroup/shard_lanes.h"
#include "io/uring.h"

namespace ringloop::cgroup {
namespace {

constexpr u64 image_bytes = 4 * mib;
constexpr u32 slots = 64;
constexpr u32 block = 4096;
constexpr u64 tenant = 4711;

std::unique_ptr<backing::Backing> make_image() {
    char path[] = "/var/tmp/ringloop-lanes-XXXXXX";
    const UniqueFd fd(::mkostemp(path, O_CLOEXEC));
    EXPECT_TRUE(fd && ::ftruncate(fd.get(), static_cast<off_t>(image_bytes)) == 0);
    auto backing = backing::Backing::open({.path = path, .direct_io = backing::DirectIo::off});
    ::unlink(path);
    EXPECT_TRUE(backing.has_value());
    return backing ? std::move(*backing) : nullptr;
}

// A client that writes a block, reads it back, and checks it, for ever, in blocks of its own.
struct Client : engine::Request {
    std::vector<std::byte> bytes = std::vector<std::byte>(block);
    u32 index = 0;
    u32 round = 0;
    u32 rounds = 0;
    engine::Shard* shard = nullptr;
    u32* left = nullptr;
    bool wrong = false;

    void begin() {
        const bool write = round % 2 == 0;
        op = write ? engine::Op::write : engine::Op::read;
        cgroup = index % 4 == 0 ? 0 : tenant;
        range = {(u64{index} * 8 + round / 2 % 8) * block, block};
        buffer = bytes.data();
        std::memset(bytes.data(), write ? static_cast<int>(round / 2 + index) & 0xff : 0, block);
        done = [](engine::Request& request) { static_cast<Client&>(request).end(); };
        shard->submit(*this);
    }
    void end() {
        const auto expected = static_cast<std::byte>((round / 2 + index) & 0xff);
        wrong |= result != Errno::ok || bytes.front() != expected || bytes.back() != expected;
        ++round;
        if (round < rounds && !wrong) {
            begin();
        } else if (--*left == 0) {
            shard->stop();
        }
    }
};

class LaneThreads : public ::testing::TestWithParam<bool> {};

TEST_P(LaneThreads, CarryOutWhatTheyAreGivenAndSleepInBetween) {
    const auto image = make_image();
    ASSERT_TRUE(image);
    auto board = Switchboard::create(1);
    ASSERT_TRUE(board.has_value());
    const UniqueFd shard_event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    const UniqueFd lane_event(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    const int events[] = {shard_event.get()};

    std::atomic<bool> stop = false;
    std::thread lane([&] {
        auto ring = io::Uring::create({});
        ASSERT_TRUE(ring.has_value());
        const auto handle = image->open_handle(**ring);
        ASSERT_TRUE(handle.has_value());
        LaneProcess process(**ring, *handle, **board, 0, events, lane_event.get());
        while (!stop.load(std::memory_order_relaxed)) process.pass(io::wait_forever_ns);
    });
    std::thread shard_thread([&] {
        auto ring = io::Uring::create({});
        ASSERT_TRUE(ring.has_value());
        engine::Device device(*image);
        auto shard = engine::Shard::create(
            **ring, device, slots, UniqueFd(::fcntl(shard_event.get(), F_DUPFD_CLOEXEC, 0)));
        ASSERT_TRUE(shard.has_value());
        Mailbox mailbox{UniqueFd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK))};
        ShardLanes lanes(**shard, **board, 0, mailbox, {});
        (*shard)->serve(lanes);
        // One at a time, or many: both sides sleep after each request, or hardly ever.
        const u32 count = GetParam() ? 2 : slots;
        std::vector<Client> clients(count);
        u32 left = count;
        for (u32 i = 0; i < count; ++i) {
            clients[i].index = 2 * i + 1;
            clients[i].rounds = 20'000 / count;
            clients[i].shard = shard->get();
            clients[i].left = &left;
            clients[i].begin();
        }
        (*shard)->pass(0);
        // The keeper's part.
        Letter* want = mailbox.take();
        ASSERT_TRUE(want && want->kind == Letter::Kind::want && !want->next);
        want->seat->answer.event = lane_event.get();
        lanes.opened(want->seat->answer);
        (*shard)->run();
        for (const Client& client : clients) EXPECT_FALSE(client.wrong) << client.index;
        EXPECT_EQ((*shard)->stats().lane_fallbacks.get(), 0u);
    });
    shard_thread.join();
    stop.store(true);
    const u64 one = 1;
    ASSERT_EQ(::write(lane_event.get(), &one, sizeof one), 8);
    lane.join();
}

INSTANTIATE_TEST_SUITE_P(Load, LaneThreads, ::testing::Bool());

}  // namespace
}  // namespace ringloop::cgroup
