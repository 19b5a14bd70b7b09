#include "cgroup/issuers.h"

#include <poll.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/wait.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>

#include "cgroup/issuers_disk.h"
#include "cgroup/issuers_program.h"

namespace ringloop::cgroup {
namespace {

constexpr u32 slots_max = 1u << 24;
// It takes 30 ms on Linux 6.18, 0.3 s on 6.12 in the emulated guest of the tests; a busy machine
// may take a multiple of that.
constexpr std::chrono::milliseconds load_timeout{10'000};

// One packet of the child, with the descriptors beside it when there is no message.
struct Answer {
    i32 number = 0;
    std::array<char, 1024> message = {};
};

using Fds = std::array<int, 3>;  // of an IssuersProgram, in the order of its members

// Answer and descriptors as the one message that both sides speak of.
struct Packet {
    Answer answer;
    iovec vector = {&answer, sizeof(answer)};
    alignas(cmsghdr) std::array<char, CMSG_SPACE(sizeof(Fds))> descriptors = {};
    msghdr header = {.msg_iov = &vector,
                     .msg_iovlen = 1,
                     .msg_control = descriptors.data(),
                     .msg_controllen = sizeof(descriptors)};

    Packet() = default;
    Packet(const Packet&) = delete;
    Packet& operator=(const Packet&) = delete;
};

void answer(int socket, const Result<IssuersProgram>& program) {
    Packet packet;
    if (program) {
        const Fds fds = {program->issuers.get(), program->disk.get(), program->link.get()};
        cmsghdr* const rights = CMSG_FIRSTHDR(&packet.header);
        rights->cmsg_level = SOL_SOCKET;
        rights->cmsg_type = SCM_RIGHTS;
        rights->cmsg_len = CMSG_LEN(sizeof(fds));
        std::memcpy(CMSG_DATA(rights), fds.data(), sizeof(fds));
    } else {
        const Error& error = program.error();
        packet.answer.number = error.number;
        const std::size_t length = std::min(error.message.size(), packet.answer.message.size() - 1);
        std::copy_n(error.message.data(), length, packet.answer.message.data());
        packet.header.msg_controllen = 0;
    }
    ::sendmsg(socket, &packet.header, MSG_NOSIGNAL);
}

Result<IssuersProgram> take_answer(int socket) {
    Packet packet;
    const ssize_t length = ::recvmsg(socket, &packet.header, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
    if (length != sizeof(Answer)) {
        return fail(EIO, "the process that loads the BPF program ended without a word; see dmesg");
    }
    packet.answer.message.back() = 0;
    if (packet.answer.message[0] != 0) {
        return std::unexpected(Error{packet.answer.number, packet.answer.message.data()});
    }
    Fds fds = {};
    const cmsghdr* const rights = CMSG_FIRSTHDR(&packet.header);
    if (!rights || rights->cmsg_len != CMSG_LEN(sizeof(fds))) {
        return fail(EMFILE, "no descriptor is left for the BPF program: raise ulimit -n");
    }
    std::memcpy(fds.data(), CMSG_DATA(rights), sizeof(fds));
    return IssuersProgram{
        .issuers = UniqueFd(fds[0]), .disk = UniqueFd(fds[1]), .link = UniqueFd(fds[2])};
}

// False: there is nothing to read after all this time.
bool wait_for_answer(int socket) {
    using std::chrono::steady_clock;
    const auto deadline = steady_clock::now() + load_timeout;
    for (;;) {
        const auto left =
            std::chrono::ceil<std::chrono::milliseconds>(deadline - steady_clock::now());
        pollfd readable{socket, POLLIN, 0};
        const int ready = ::poll(&readable, 1, std::max(0, static_cast<int>(left.count())));
        if (ready >= 0 || errno != EINTR) return ready > 0;
    }
}

Result<IssuersProgram> load_in_child(u32 queues, u32 depth) {
    std::array<int, 2> ends{};
    if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends.data()) != 0) {
        return fail_errno(errno, "no sockets for the process that loads the BPF program");
    }
    const UniqueFd ours(ends[0]);
    UniqueFd theirs(ends[1]);
    const pid_t parent = ::getpid();
    const pid_t child = ::fork();
    if (child < 0) return fail_errno(errno, "no process that loads the BPF program");
    if (child == 0) {
        // It has copies of all descriptors, so it must not outlive the one who owns them.
        ::prctl(PR_SET_PDEATHSIG, SIGKILL);
        if (::getppid() == parent) answer(theirs.get(), load_issuers_program(queues, depth));
        ::_exit(0);
    }
    theirs.reset();
    const bool answered = wait_for_answer(ours.get());
    // Whatever it still does, nobody needs it.
    ::kill(child, SIGKILL);
    while (::waitpid(child, nullptr, 0) < 0 && errno == EINTR) {
    }
    if (answered) return take_answer(ours.get());
    return fail(ETIMEDOUT,
                "loading the BPF program took more than {} s; try again when the host is less busy",
                load_timeout.count() / 1000);
}

}  // namespace

Issuers::Issuers(const u64* slots, u32 queues, u32 depth)
    : slots_(slots), queues_(queues), depth_(depth) {}

Issuers Issuers::on(const u64* slots, u32 queues, u32 depth) { return {slots, queues, depth}; }

Result<Issuers> Issuers::attach(u32 queues, u32 depth) {
    ASSERT(queues > 0 && depth > 0 && u64{queues} * depth <= slots_max);
    auto program = load_in_child(queues, depth);
    if (!program) return std::unexpected(std::move(program).error());
    auto mapping = map(program->issuers.get(), u64{queues} * depth * sizeof(u64), PROT_READ);
    if (!mapping) return std::unexpected(std::move(mapping).error());
    Issuers issuers(static_cast<const u64*>(mapping->get()), queues, depth);
    issuers.mapping_ = std::move(*mapping);
    issuers.disk_ = std::move(program->disk);
    issuers.link_ = std::move(program->link);
    return issuers;
}

Status Issuers::watch(const std::string& disk) {
    ASSERT(!disk.empty() && disk.size() < sizeof(IssuersDisk::name));
    if (!disk_) return {};  // simulated
    const auto mapping = map(disk_.get(), sizeof(IssuersDisk), PROT_READ | PROT_WRITE);
    if (!mapping) return std::unexpected(mapping.error());
    auto* const known = static_cast<IssuersDisk*>(mapping->get());
    ASSERT(known->name[0] == 0);
    // The program is running: the first letter comes last, and makes it a name.
    std::ranges::copy(disk.substr(1), &known->name[1]);
    __atomic_store_n(&known->name[0], disk[0], __ATOMIC_RELEASE);
    disk_.reset();
    return {};
}

Result<Issuers::Mapping> Issuers::map(int fd, u64 length, int protection) {
    const u64 whole = align_up(length, static_cast<u64>(::sysconf(_SC_PAGESIZE)));
    void* const address = ::mmap(nullptr, whole, protection, MAP_SHARED, fd, 0);
    if (address == MAP_FAILED) return fail_errno(errno, "cannot map what the BPF program shares");
    return Mapping(address, Unmap{whole});
}

void Issuers::Unmap::operator()(void* address) const { ::munmap(address, length); }

Status issuers_available() {
    const auto program = load_in_child(1, 1);
    if (!program) return std::unexpected(program.error());
    return {};
}

}  // namespace ringloop::cgroup
