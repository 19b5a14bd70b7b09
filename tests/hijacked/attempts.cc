// Stands in for whoever has taken a server over: loaded into it by LD_PRELOAD, it waits in two
// calls that a server makes, getrusage in the control thread (to answer `status`) and preadv2 in a
// shard (to read what the page cache has), and tries there what a server has no business with. What
// came of it goes to the server's stderr, its log: "hijacked THREAD ATTEMPT: done", or an errno.
// The file $HIJACK_NOW arms it for one attempt in each thread; the program itself knows none of it.
#include <arpa/inet.h>
#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <unistd.h>

#include <array>
#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace {

const char* setting(const char* name) {
    const char* value = std::getenv(name);
    return value ? value : "";
}

void tell(const char* thread, const char* attempt, bool done) {
    const int number = errno;
    char line[256];
    const int length = std::snprintf(line, sizeof line, "hijacked %s %s: %s\n", thread, attempt,
                                     done ? "done" : strerrorname_np(number));
    [[maybe_unused]] const ssize_t written =
        ::write(STDERR_FILENO, line, static_cast<std::size_t>(length));
}

bool opens(const char* path, int flags) {
    const int fd = ::open(path, flags | O_CLOEXEC, 0600);
    if (fd < 0) return false;
    ::close(fd);
    return true;
}

template <typename Address>
bool connects(const Address& address) {
    const auto* generic = reinterpret_cast<const sockaddr*>(&address);
    const int fd = ::socket(generic->sa_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0) return false;
    const int connected = ::connect(fd, generic, sizeof address);
    const int number = errno;
    ::close(fd);
    errno = number;
    return connected == 0;
}

bool connects_unix() {
    sockaddr_un address{};
    address.sun_family = AF_UNIX;
    std::strncpy(address.sun_path, setting("HIJACK_SOCKET"), sizeof address.sun_path - 1);
    return connects(address);
}

bool connects_tcp() {
    sockaddr_in address{};
    address.sin_family = AF_INET;
    address.sin_port = htons(static_cast<std::uint16_t>(std::atoi(setting("HIJACK_PORT"))));
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return connects(address);
}

// Of a program that is missing, so that nothing is lost where it is allowed.
bool executes() {
    char name[] = "missing";
    char* const arguments[] = {name, nullptr};
    ::execve("/missing", arguments, environ);
    return errno == ENOENT;
}

bool forks() {
    const pid_t pid = ::fork();
    if (pid < 0) return false;
    if (pid == 0) ::_exit(0);
    ::waitpid(pid, nullptr, 0);
    return true;
}

bool makes_a_ring() {
    std::array<std::uint32_t, 30> parameters{};  // a struct io_uring_params
    const long fd = ::syscall(SYS_io_uring_setup, 4, parameters.data());
    if (fd >= 0) ::close(static_cast<int>(fd));
    return fd >= 0;
}

bool makes_code() {
    void* page = ::mmap(nullptr, 4096, PROT_READ | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (page == MAP_FAILED) return false;
    ::munmap(page, 4096);
    return true;
}

void attempt_all(const char* thread) {
    tell(thread, "open", opens(setting("HIJACK_FILE"), O_RDONLY));
    tell(thread, "open for writing", opens(setting("HIJACK_FILE"), O_WRONLY));
    tell(thread, "open O_PATH", opens(setting("HIJACK_FILE"), O_PATH));
    tell(thread, "create", opens(setting("HIJACK_NEW"), O_WRONLY | O_CREAT));
    tell(thread, "exec", executes());
    tell(thread, "fork", forks());
    tell(thread, "connect unix", connects_unix());
    tell(thread, "connect tcp", connects_tcp());
    tell(thread, "a new ring", makes_a_ring());
    tell(thread, "new code", makes_code());
    tell(thread, "chroot", ::chroot("/") == 0);
}

// Once in each thread. stat is what a server may do, too.
void attempt_when_armed(const char* thread, std::atomic<bool>& done) {
    if (::access(setting("HIJACK_NOW"), F_OK) != 0 || done.exchange(true)) return;
    const int number = errno;
    attempt_all(thread);
    errno = number;
}

template <typename Function>
Function next(const char* name) {
    return reinterpret_cast<Function>(::dlsym(RTLD_NEXT, name));
}

}  // namespace

extern "C" int getrusage(int who, rusage* usage) noexcept {
    static std::atomic<bool> done = false;
    static const auto real = next<int (*)(int, rusage*)>("getrusage");
    attempt_when_armed("control", done);
    return real(who, usage);
}

extern "C" ssize_t preadv2(int fd, const iovec* vectors, int count, off_t offset, int flags) {
    static std::atomic<bool> done = false;
    static const auto real = next<ssize_t (*)(int, const iovec*, int, off_t, int)>("preadv2");
    attempt_when_armed("shard", done);
    return real(fd, vectors, count, offset, flags);
}
