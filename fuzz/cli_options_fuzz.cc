// A person types anything. The lines of an input are the words of a command line; each is also read
// as a size and as an address. What is understood must be written so that it is understood as the
// same again, because that is how a device reaches its server.
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "base/assert.h"
#include "base/size.h"
#include "cli/arguments.h"
#include "control/address.h"
#include "sim/fuzzing.h"

namespace ringloop::cli {
namespace {

std::vector<std::string> words_of(std::string_view input) {
    std::vector<std::string> words;
    std::string word;
    for (const char c : input) {
        // The kernel would end a word there.
        if (c != '\n' && c != '\0') {
            word.push_back(c);
            continue;
        }
        words.push_back(std::move(word));
        word.clear();
    }
    words.push_back(std::move(word));
    return words;
}

std::expected<Command, int> parse(const std::vector<std::string>& words) {
    std::vector<const char*> arguments = {"ringloop"};
    for (const std::string& word : words) arguments.push_back(word.c_str());
    arguments.push_back(nullptr);
    return parse_arguments(static_cast<int>(arguments.size()) - 1, arguments.data());
}

void check_handed_over(const control::DeviceOptions& options) {
    ASSERT(control::check_options(options));
    std::vector<std::string> words = control::serve_arguments(options);
    words.insert(words.begin(), "serve");
    const auto command = parse(words);
    ASSERT(command);
    const auto* serve = std::get_if<Serve>(&*command);
    ASSERT(serve && !serve->request.stdio && serve->request.recover_name.empty());
    ASSERT(serve->request.options == options);
}

void check_size(const std::string& word) {
    const auto bytes = parse_size(word, "--offset");
    if (!bytes) return;
    const auto again = parse_size(std::to_string(*bytes), "--offset");
    ASSERT(again && *again == *bytes);
    ASSERT(word[0] >= '0' && word[0] <= '9');
    ASSERT(!format_size(*bytes).empty());
}

void check_address(const std::string& word) {
    const auto address = control::parse_address(word);
    if (!address) return;
    const auto again = control::parse_address(control::to_text(*address));
    ASSERT(again && *again == *address);
    ASSERT(control::is_local(*again) == control::is_local(*address));
    const std::string uri = control::uri_of(*address, {.export_name = word});
    ASSERT(uri.starts_with("nbd") && uri.find(' ') == std::string::npos);
}

void play(std::string_view input) {
    const std::vector<std::string> words = words_of(input);
    for (const std::string& word : words) {
        check_size(word);
        check_address(word);
    }
    const auto command = parse(words);
    if (!command) {
        ASSERT(command.error() >= exit_done && command.error() <= exit_usage);
        return;
    }
    if (const auto* attach = std::get_if<Attach>(&*command)) check_handed_over(attach->options);
    if (const auto* serve = std::get_if<Serve>(&*command)) {
        const bool elsewhere = !serve->request.recover_name.empty() || !serve->config_name.empty();
        if (!elsewhere) check_handed_over(serve->request.options);
    }
    if (const auto* set = std::get_if<Set>(&*command)) ASSERT(control::check_change(set->change));
}

}  // namespace
}  // namespace ringloop::cli

extern "C" int LLVMFuzzerInitialize(int* count, char*** arguments);
extern "C" int LLVMFuzzerTestOneInput(const ringloop::u8* data, std::size_t size);

extern "C" int LLVMFuzzerInitialize(int* count, char*** arguments) {
    ringloop::sim::be_quiet(count, arguments);
    return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const ringloop::u8* data, std::size_t size) {
    ringloop::cli::play({reinterpret_cast<const char*>(data), size});
    return 0;
}
