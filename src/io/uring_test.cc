// io::Uring against the real kernel: what the seam promises.
#include "io/uring.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <stdlib.h>
#include <sys/eventfd.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <array>
#include <vector>

#include "base/unique_fd.h"

namespace ringloop::io {
namespace {

struct Step : Completion {
    Step() {
        done = [](Completion& completion) {
            auto& step = static_cast<Step&>(completion);
            ++step.count;
            if (step.then) step.then(step);
        };
    }
    u32 count = 0;
    void (*then)(Step&) = nullptr;
    Uring* uring = nullptr;
};

class UringTest : public ::testing::Test {
protected:
    void SetUp() override {
        auto made = Uring::create({.entries = 8});
        ASSERT_TRUE(made.has_value()) << made.error().message;
        uring_ = std::move(*made);
        char path[] = "/var/tmp/ringloop-uring-XXXXXX";
        file_ = UniqueFd(::mkostemp(path, O_CLOEXEC));
        ASSERT_TRUE(file_);
        ::unlink(path);
        auto registered = uring_->register_file(file_.get());
        ASSERT_TRUE(registered.has_value());
        ref_ = *registered;
    }

    Operation transfer(Operation::Code code, std::byte* data, u64 offset, u64 length) {
        Operation operation;
        operation.code = code;
        operation.file = ref_;
        operation.data = data;
        operation.offset = offset;
        operation.length = length;
        return operation;
    }

    void run_until(const u32& count, u32 wanted) {
        while (count < wanted) uring_->run_once(wait_forever_ns);
    }

    std::unique_ptr<Uring> uring_;
    UniqueFd file_;
    FileRef ref_;
};

TEST_F(UringTest, ReadsBackWhatItWroteThroughARegisteredFile) {
    std::array<std::byte, 512> out;
    out.fill(std::byte{0x42});
    std::array<std::byte, 512> in{};
    Step write;
    write.operation = transfer(Operation::Code::write, out.data(), 512, out.size());
    uring_->submit(write);
    run_until(write.count, 1);
    EXPECT_EQ(write.result, 512);
    Step read;
    read.operation = transfer(Operation::Code::read, in.data(), 512, in.size());
    uring_->submit(read);
    run_until(read.count, 1);
    EXPECT_EQ(read.result, 512);
    EXPECT_EQ(in, out);
}

TEST_F(UringTest, GivesThePlaceOfAFileToTheNext) {
    char path[] = "/var/tmp/ringloop-uring-XXXXXX";
    const UniqueFd other(::mkostemp(path, O_CLOEXEC));
    ASSERT_TRUE(other);
    ::unlink(path);
    std::byte byte{7};
    // More often than there are places.
    for (u32 round = 1; round <= 20; ++round) {
        const auto added = uring_->register_file(other.get());
        ASSERT_TRUE(added.has_value()) << added.error().message;
        ASSERT_FALSE(*added == ref_);
        Step write;
        write.operation = transfer(Operation::Code::write, &byte, round - 1, 1);
        write.operation.file = *added;
        uring_->submit(write);
        run_until(write.count, 1);
        ASSERT_EQ(write.result, 1);
        uring_->unregister_file(*added);
        EXPECT_EQ(::lseek(other.get(), 0, SEEK_END), round);
    }
    EXPECT_EQ(::lseek(file_.get(), 0, SEEK_END), 0);
    Step late;
    late.operation = transfer(Operation::Code::write, &byte, 0, 1);
    late.operation.file = {ref_.number + 1, true};
    uring_->submit(late);
    run_until(late.count, 1);
    EXPECT_EQ(late.result, -EBADF) << "the ring has let go of it";
}

TEST_F(UringTest, MovesVectors) {
    std::array<std::byte, 1024> out;
    out.fill(std::byte{7});
    std::array<iovec, 2> vectors = {iovec{out.data(), 100}, iovec{out.data() + 100, 924}};
    Step write;
    write.operation.code = Operation::Code::writev;
    write.operation.file = ref_;
    write.operation.vectors = vectors.data();
    write.operation.vector_count = 2;
    uring_->submit(write);
    run_until(write.count, 1);
    EXPECT_EQ(write.result, 1024);
    EXPECT_EQ(::lseek(file_.get(), 0, SEEK_END), 1024);
}

TEST_F(UringTest, UsesARegisteredBuffer) {
    alignas(4096) static std::array<std::byte, 4096> memory;
    memory.fill(std::byte{9});
    const iovec buffer{memory.data(), memory.size()};
    const Status registered = uring_->register_buffers({&buffer, 1});
    ASSERT_TRUE(registered.has_value()) << registered.error().message;
    Step write;
    write.operation = transfer(Operation::Code::write, memory.data(), 0, 4096);
    write.operation.fixed_buffer = 0;
    uring_->submit(write);
    run_until(write.count, 1);
    EXPECT_EQ(write.result, 4096);
}

TEST_F(UringTest, ReportsErrorsAsNegativeNumbers) {
    Step read;
    read.operation.code = Operation::Code::read;
    read.operation.file = {-1, false};
    uring_->submit(read);
    run_until(read.count, 1);
    EXPECT_EQ(read.result, -EBADF);
}

TEST_F(UringTest, SyncsAndPunches) {
    ASSERT_EQ(::ftruncate(file_.get(), 65536), 0);
    Step sync;
    sync.operation.code = Operation::Code::fdatasync;
    sync.operation.file = ref_;
    Step punch;
    punch.operation.code = Operation::Code::fallocate;
    punch.operation.file = ref_;
    punch.operation.mode = FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE;
    punch.operation.length = 4096;
    uring_->submit(sync);
    uring_->submit(punch);
    run_until(sync.count, 1);
    run_until(punch.count, 1);
    EXPECT_EQ(sync.result, 0);
    EXPECT_EQ(punch.result, 0);
}

TEST_F(UringTest, TakesMoreWorkThanItsSubmissionQueueHolds) {
    constexpr u64 steps_count = 1000;
    std::vector<std::byte> data(steps_count, std::byte{1});
    std::vector<Step> steps(steps_count);
    for (u64 i = 0; i < steps_count; ++i) {
        steps[i].operation = transfer(Operation::Code::write, &data[i], i, 1);
        uring_->submit(steps[i]);
    }
    u64 finished = 0;
    while (finished < steps_count) {
        uring_->run_once(wait_forever_ns);
        finished = 0;
        for (const Step& step : steps) finished += step.count;
    }
    for (const Step& step : steps) {
        EXPECT_EQ(step.count, 1u);
        EXPECT_EQ(step.result, 1);
    }
    EXPECT_EQ(::lseek(file_.get(), 0, SEEK_END), static_cast<off_t>(steps_count));
}

TEST_F(UringTest, CallsBackOnlyFromRunOnceEvenForWorkSubmittedByACallback) {
    static u64 event = 1;
    const UniqueFd fd(::eventfd(2, EFD_CLOEXEC | EFD_SEMAPHORE));
    Step step;
    step.uring = uring_.get();
    step.operation.code = Operation::Code::read;
    step.operation.file = {fd.get(), false};
    step.operation.offset = no_offset;
    step.operation.length = sizeof event;
    step.operation.data = reinterpret_cast<std::byte*>(&event);
    step.then = [](Step& self) {
        if (self.count == 1) self.uring->submit(self);
        EXPECT_LE(self.count, 2u);
    };
    uring_->submit(step);
    EXPECT_EQ(step.count, 0u);
    run_until(step.count, 2);
    EXPECT_EQ(step.result, 8);
}

TEST_F(UringTest, AReadWaitsForAnEventfdThatRefusesToAndASignalOfTheSameRingReachesIt) {
    const UniqueFd fd(::eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK));
    u64 event = 0;
    Step step;
    step.operation = {.code = Operation::Code::read,
                      .when_readable = true,
                      .file = {fd.get(), false},
                      .offset = no_offset,
                      .length = sizeof event,
                      .data = reinterpret_cast<std::byte*>(&event)};
    for (u32 round = 1; round <= 20; ++round) {  // more entries than the ring has
        uring_->submit(step);
        uring_->run_once(0);
        ASSERT_EQ(step.count, round - 1) << "nothing to read, and it did not wait";
        uring_->signal(fd.get());
        uring_->signal(fd.get());
        run_until(step.count, round);
        ASSERT_EQ(step.result, 8);
        ASSERT_EQ(event, 2u);
    }
}

TEST_F(UringTest, MakesACallOnThisThreadWithoutTheRing) {
    std::array<std::byte, 512> data;
    data.fill(std::byte{3});
    Step write;
    write.operation = transfer(Operation::Code::write, data.data(), 0, data.size());
    write.operation.on_thread = true;
    uring_->submit(write);
    EXPECT_EQ(write.count, 0u);
    uring_->run_once(wait_forever_ns);
    EXPECT_EQ(write.count, 1u);
    EXPECT_EQ(write.result, 512);
    EXPECT_GT(write.call_ns, 0u);
}

TEST_F(UringTest, CarriesMessagesBetweenSockets) {
    i32 fds[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    const UniqueFd one(fds[0]);
    const UniqueFd other(fds[1]);
    std::vector<std::byte> out(4 * mib, std::byte{5});  // more than a socket buffers
    std::array<iovec, 2> vectors = {iovec{out.data(), 1}, iovec{out.data() + 1, out.size() - 1}};
    msghdr message{};
    message.msg_iov = vectors.data();
    message.msg_iovlen = vectors.size();
    Step send;
    send.operation = {
        .code = Operation::Code::send, .file = {one.get(), false}, .message = &message};
    uring_->submit(send);
    std::vector<std::byte> in(out.size());
    u64 received = 0;
    while (received < in.size()) {
        Step receive;
        receive.operation = {.code = Operation::Code::receive,
                             .file = {other.get(), false},
                             .length = in.size() - received,
                             .data = in.data() + received};
        uring_->submit(receive);
        run_until(receive.count, 1);
        ASSERT_GT(receive.result, 0);
        received += static_cast<u64>(receive.result);
    }
    run_until(send.count, 1);
    EXPECT_EQ(send.result, static_cast<i32>(out.size()));
    EXPECT_EQ(in, out);
}

TEST_F(UringTest, SendsToNobodyWithoutASignal) {
    i32 fds[2];
    ASSERT_EQ(::socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    const UniqueFd one(fds[0]);
    ::close(fds[1]);
    std::byte data{};
    iovec vector = {&data, 1};
    msghdr message{};
    message.msg_iov = &vector;
    message.msg_iovlen = 1;
    Step send;
    send.operation = {
        .code = Operation::Code::send, .file = {one.get(), false}, .message = &message};
    uring_->submit(send);
    run_until(send.count, 1);
    EXPECT_EQ(send.result, -EPIPE);
}

TEST_F(UringTest, AcceptsUntilItIsCancelled) {
    const UniqueFd listening(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    sockaddr_un address{.sun_family = AF_UNIX, .sun_path = {}};
    // Without a name the kernel makes one up in the abstract space (unix(7), autobind).
    ASSERT_EQ(::bind(listening.get(), reinterpret_cast<sockaddr*>(&address), sizeof(sa_family_t)),
              0);
    ASSERT_EQ(::listen(listening.get(), 1), 0);
    socklen_t length = sizeof address;
    ASSERT_EQ(::getsockname(listening.get(), reinterpret_cast<sockaddr*>(&address), &length), 0);
    Step accept;
    accept.operation = {.code = Operation::Code::accept, .file = {listening.get(), false}};
    uring_->submit(accept);
    const UniqueFd client(::socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0));
    ASSERT_EQ(::connect(client.get(), reinterpret_cast<sockaddr*>(&address), length), 0);
    run_until(accept.count, 1);
    const UniqueFd accepted(accept.result);
    EXPECT_TRUE(accepted);

    uring_->submit(accept);
    uring_->run_once(0);
    Step cancel;
    cancel.operation = {.code = Operation::Code::cancel, .target = &accept};
    uring_->submit(cancel);
    run_until(accept.count, 2);
    run_until(cancel.count, 1);
    EXPECT_EQ(accept.result, -ECANCELED);
    EXPECT_EQ(cancel.result, 0);
}

TEST_F(UringTest, TellsWhenATimeHasPassedOrWasCancelled) {
    Step soon;
    soon.operation = {.code = Operation::Code::timeout, .payload = {0, 1'000'000}};
    Step never;
    never.operation = {.code = Operation::Code::timeout, .payload = {3600, 0}};
    uring_->submit(soon);
    uring_->submit(never);
    run_until(soon.count, 1);
    EXPECT_EQ(soon.result, -ETIME);
    Step cancel;
    cancel.operation = {.code = Operation::Code::cancel, .target = &never};
    uring_->submit(cancel);
    run_until(never.count, 1);
    run_until(cancel.count, 1);
    EXPECT_EQ(never.result, -ECANCELED);
}

TEST_F(UringTest, ComesBackWithNothingWhenTheWaitIsOver) {
    const u64 before = uring_->now_ns();
    uring_->run_once(2'000'000);
    EXPECT_GE(uring_->now_ns() - before, 2'000'000u);
    uring_->run_once(0);
}

}  // namespace
}  // namespace ringloop::io
