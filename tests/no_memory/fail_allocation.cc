// Preloaded into ringloop: makes an allocation of a process fail, as a kernel without memory would.
//
//   FAIL_ALLOCATION=N  the Nth of the process, from 1
//   FAIL_VERB=WORD     only in a process whose first argument is WORD: a server inherits all this
//   FAIL_ALWAYS=1      and every one after it
//   FAIL_MARK=PATH     this file is made when it happened
//
// An allocation is a call of malloc and its kin, which operator new is, too, or an anonymous
// mapping.
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>

// glibc's own, which need no look-up: that would allocate.
extern "C" void* __libc_malloc(std::size_t size);
extern "C" void* __libc_calloc(std::size_t count, std::size_t size);
extern "C" void* __libc_realloc(void* memory, std::size_t size);
extern "C" void* __libc_memalign(std::size_t alignment, std::size_t size);

namespace {

std::atomic<long> count = 0;
long failing = 0;  // 0: none
bool always = false;
const char* mark = nullptr;

// Runs before the constructors of the program, and after those of the libraries.
__attribute__((constructor)) void read_environment(int argument_count, char** arguments, char**) {
    const char* number = ::getenv("FAIL_ALLOCATION");
    const char* verb = ::getenv("FAIL_VERB");
    if (!number || (verb && (argument_count < 2 || ::strcmp(arguments[1], verb) != 0))) return;
    always = ::getenv("FAIL_ALWAYS") != nullptr;
    mark = ::getenv("FAIL_MARK");
    failing = ::atol(number);
}

bool fails() {
    if (failing == 0) return false;
    const long number = count.fetch_add(1) + 1;
    if (number != failing && !(always && number > failing)) return false;
    if (mark && number == failing) ::close(::open(mark, O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
    errno = ENOMEM;
    return true;
}

}  // namespace

extern "C" {

void* malloc(std::size_t size) { return fails() ? nullptr : __libc_malloc(size); }

void* calloc(std::size_t count, std::size_t size) {
    return fails() ? nullptr : __libc_calloc(count, size);
}

void* realloc(void* memory, std::size_t size) {
    return fails() ? nullptr : __libc_realloc(memory, size);
}

void* memalign(std::size_t alignment, std::size_t size) {
    return fails() ? nullptr : __libc_memalign(alignment, size);
}

void* aligned_alloc(std::size_t alignment, std::size_t size) {
    return fails() ? nullptr : __libc_memalign(alignment, size);
}

int posix_memalign(void** memory, std::size_t alignment, std::size_t size) {
    void* const found = fails() ? nullptr : __libc_memalign(alignment, size);
    if (!found) return ENOMEM;
    *memory = found;
    return 0;
}

void* mmap(void* address, std::size_t length, int protection, int flags, int fd, off_t offset) {
    if ((flags & MAP_ANONYMOUS) != 0 && fails()) return MAP_FAILED;
    return reinterpret_cast<void*>(
        ::syscall(SYS_mmap, address, length, protection, flags, fd, offset));
}

void* mmap64(void* address, std::size_t length, int protection, int flags, int fd, off_t offset) {
    return mmap(address, length, protection, flags, fd, offset);
}

}  // extern "C"
