#include <fcntl.h>
#include <unistd.h>

#include <atomic>
#include <cstdlib>
#include <exception>
#include <new>
#include <string_view>
#include <variant>

#include "cli/output.h"
#include "cli/verbs.h"

namespace {

constexpr std::string_view out_of_memory = "ringloop: out of memory; free some\n";
constexpr std::size_t reserve_bytes = 64 * 1024;  // costs addresses only: nobody touches it

std::atomic<void*> reserve = nullptr;
std::terminate_handler terminate_before = nullptr;
int exit_without_memory = ringloop::cli::exit_failed;

[[noreturn]] void end_without_memory() {
    // Nothing else is left to do where it cannot be said.
    [[maybe_unused]] const ssize_t written =
        ::write(STDERR_FILENO, out_of_memory.data(), out_of_memory.size());
    ::_exit(exit_without_memory);
}

// The first time there is something to give back. It matters where nothing may be thrown: a JSON
// value allocates even to be destroyed. After that it is thrown, and whoever can undoes what he
// did.
void on_lack_of_memory() {
    void* const kept = reserve.exchange(nullptr);
    if (!kept) throw std::bad_alloc();
    std::free(kept);
}

// Nobody catches it.
[[noreturn]] void on_terminate() {
    try {
        if (std::current_exception()) throw;
    } catch (const std::bad_alloc&) {
        end_without_memory();
    } catch (...) {
    }
    terminate_before();
    std::abort();
}

// Before main there is nobody to catch anything: the constructors of the libraries that are linked
// in would end in an abort. Before all of them.
struct BeforeMain {
    BeforeMain() { std::set_new_handler(end_without_memory); }
};
[[gnu::init_priority(101)]] const BeforeMain before_main;

// Whoever started us may have closed one of them. Its number would go to the next file that is
// opened, the image for instance, and what is meant for a person would be written there.
void occupy_standard_descriptors() {
    int fd = ::open("/dev/null", O_RDWR);
    while (fd >= 0 && fd <= STDERR_FILENO) fd = ::open("/dev/null", O_RDWR);
    if (fd > STDERR_FILENO) ::close(fd);
}

}  // namespace

int main(int count, char** arguments) {
    using namespace ringloop;
    occupy_standard_descriptors();
    reserve = std::malloc(reserve_bytes);
    std::set_new_handler(on_lack_of_memory);
    terminate_before = std::set_terminate(on_terminate);
    // The one edge at which an exception of a library ends, whatever it was.
    try {
        const auto command = cli::parse_arguments(count, arguments);
        if (!command) return command.error();
        // Its stderr will be a log that is removed with it; its code is seen by who waits for it.
        const auto* serve = std::get_if<cli::Serve>(&*command);
        if (serve && serve->request.ready_fd) exit_without_memory = control::exit_without_memory;
        return std::visit([](const auto& verb) { return cli::run(verb); }, *command);
    } catch (const std::bad_alloc&) {
        end_without_memory();
    } catch (const std::exception& error) {
        cli::print_error(error.what());
        return cli::exit_failed;
    }
}
