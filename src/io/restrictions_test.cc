#include "io/restrictions.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <liburing.h>
#include <unistd.h>

#include <cerrno>

namespace ringloop::io {
namespace {

class Ring {
public:
    explicit Ring(unsigned flags) { error_ = io_uring_queue_init(4, &ring_, flags); }
    ~Ring() {
        if (error_ == 0) io_uring_queue_exit(&ring_);
    }
    Ring(const Ring&) = delete;
    Ring& operator=(const Ring&) = delete;

    int error() const { return error_; }
    io_uring& operator*() { return ring_; }

    // The result of the one entry that `prepare` fills.
    template <typename Prepare>
    int run(Prepare prepare) {
        io_uring_sqe* entry = io_uring_get_sqe(&ring_);
        prepare(entry);
        io_uring_submit_and_wait(&ring_, 1);
        io_uring_cqe* answer = nullptr;
        if (io_uring_peek_cqe(&ring_, &answer) != 0) return -ENODATA;
        const int result = answer->res;
        io_uring_cqe_seen(&ring_, answer);
        return result;
    }

private:
    io_uring ring_{};
    int error_ = 0;
};

const auto open_a_file = [](io_uring_sqe* entry) {
    io_uring_prep_openat(entry, AT_FDCWD, "/proc/self/stat", O_RDONLY, 0);
};

TEST(Restrictions, open_no_file_and_connect_nowhere) {
    Ring free(0);
    if (free.error() != 0) GTEST_SKIP() << "io_uring is not available";
    EXPECT_GE(free.run(open_a_file), 0);

    for (const RingOf what : {RingOf::shard, RingOf::commands}) {
        Ring ring(IORING_SETUP_R_DISABLED);
        ASSERT_EQ(ring.error(), 0);
        ASSERT_EQ(restrict_and_enable(*ring, what), 0);
        EXPECT_EQ(ring.run(open_a_file), -EACCES);
        EXPECT_EQ(
            ring.run([](io_uring_sqe* entry) { io_uring_prep_connect(entry, 0, nullptr, 0); }),
            -EACCES);
    }
}

TEST(Restrictions, leave_reading_and_registering_to_a_shard) {
    Ring ring(IORING_SETUP_R_DISABLED);
    if (ring.error() != 0) GTEST_SKIP() << "io_uring is not available";
    ASSERT_EQ(restrict_and_enable(*ring, RingOf::shard), 0);
    const int fd = ::open("/proc/self/stat", O_RDONLY | O_CLOEXEC);
    ASSERT_GE(fd, 0);
    char byte = 0;
    EXPECT_EQ(ring.run([&](io_uring_sqe* entry) { io_uring_prep_read(entry, fd, &byte, 1, 0); }),
              1);
    unsigned limits[2] = {2, 2};
    EXPECT_EQ(io_uring_register_iowq_max_workers(&*ring, limits), 0);
    // Not of those that a shard makes.
    EXPECT_EQ(io_uring_register_eventfd(&*ring, fd), -EACCES);
    ::close(fd);
}

}  // namespace
}  // namespace ringloop::io
