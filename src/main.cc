#include <exception>
#include <variant>

#include "cli/output.h"
#include "cli/verbs.h"

int main(int count, char** arguments) {
    using namespace ringloop;
    // The one edge at which an exception of a library ends, whatever it was.
    try {
        const auto command = cli::parse_arguments(count, arguments);
        if (!command) return command.error();
        return std::visit([](const auto& verb) { return cli::run(verb); }, *command);
    } catch (const std::exception& error) {
        cli::print_error(error.what());
        return cli::exit_failed;
    }
}
