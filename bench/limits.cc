// What this machine charges for the things that every path is made of: copying memory, a system
// call, an operation through a ring. Prints one JSON object; in_process.py --limits shows it.
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <cstring>
#include <nlohmann/json.hpp>
#include <vector>

#include "base/unique_fd.h"
#include "io/uring.h"

namespace ringloop {
namespace {

using Clock = std::chrono::steady_clock;

constexpr std::chrono::milliseconds run_time{500};
// Far more than the processor's caches hold, as an image is.
constexpr u64 source_bytes = 256 * mib;

// Calls `batch` until the time is over; nanoseconds for each of the `batch_size` things it does.
template <typename Batch>
double ns_each(u64 batch_size, Batch batch) {
    const auto begin = Clock::now();
    const auto end = begin + run_time;
    u64 done = 0;
    while (Clock::now() < end) {
        batch();
        done += batch_size;
    }
    const std::chrono::duration<double, std::nano> elapsed = Clock::now() - begin;
    return elapsed.count() / static_cast<double>(done);
}

// From memory that no cache holds into a buffer that one does: what a read from the page cache is.
double copy_gb_per_s(const std::vector<std::byte>& source, u64 block) {
    std::vector<std::byte> target(block);
    u64 offset = 0;
    const double ns = ns_each(64, [&] {
        for (u32 i = 0; i < 64; ++i) {
            std::memcpy(target.data(), source.data() + offset, block);
            // The copy is the purpose: the compiler may not leave it out.
            asm volatile("" : : "r"(target.data()) : "memory");
            // Odd steps of blocks reach every block, and no prefetcher guesses the next one.
            offset = (offset + 12'345 * block) % source_bytes;
        }
    });
    return static_cast<double>(block) / ns;
}

double syscall_ns() {
    return ns_each(64, [] {
        for (u32 i = 0; i < 64; ++i) (void)::syscall(SYS_getppid);
    });
}

// Reads of /dev/null: everything that an operation costs, but what it is about. `depth` go with
// one enter.
Result<double> ring_ns(u32 depth) {
    const UniqueFd null(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    if (!null) return fail_errno(errno, "cannot open /dev/null");
    auto ring = io::Uring::create({});
    if (!ring) return std::unexpected(ring.error());
    const auto file = (*ring)->register_file(null.get());
    if (!file) return std::unexpected(file.error());

    struct Read : io::Completion {
        u32* left = nullptr;
        std::byte data{};
    };
    std::vector<Read> reads(depth);
    u32 left = 0;
    for (Read& read : reads) {
        read.left = &left;
        read.done = [](io::Completion& completion) { --*static_cast<Read&>(completion).left; };
        read.operation = {.code = io::Operation::Code::read,
                          .file = *file,
                          .length = sizeof read.data,
                          .data = &read.data};
    }
    return ns_each(depth, [&] {
        left = depth;
        for (Read& read : reads) (*ring)->submit(read);
        while (left > 0) (*ring)->run_once(io::wait_forever_ns);
    });
}

Result<nlohmann::ordered_json> measure() {
    std::vector<std::byte> source(source_bytes);
    std::memset(source.data(), 1, source_bytes);  // pages of its own, not the one of zeroes
    const auto alone_ns = ring_ns(1);
    if (!alone_ns) return std::unexpected(alone_ns.error());
    const auto together_ns = ring_ns(64);
    if (!together_ns) return std::unexpected(together_ns.error());
    return nlohmann::ordered_json{{"copy_4k_gb_per_s", copy_gb_per_s(source, 4 * kib)},
                                  {"copy_256k_gb_per_s", copy_gb_per_s(source, 256 * kib)},
                                  {"syscall_ns", syscall_ns()},
                                  {"ring_qd1_ns", *alone_ns},
                                  {"ring_qd64_ns", *together_ns}};
}

}  // namespace
}  // namespace ringloop

int main() {
    const auto found = ringloop::measure();
    if (!found) {
        fmt::print(stderr, "limits_bench: {}\n", found.error().message);
        return 1;
    }
    fmt::print("{}\n", found->dump(1));
    return 0;
}
