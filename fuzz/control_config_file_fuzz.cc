// A file of /etc/ringloop with any content. What is understood has only keys that are known, none
// twice that may not be, and values that a command line can carry; and it means the same when it is
// written again.
#include <algorithm>
#include <array>
#include <string>
#include <string_view>

#include "base/assert.h"
#include "control/config_file.h"

namespace ringloop::control {
namespace {

const std::array<ConfigKey, 4> keys = {{{.name = "image"},
                                        {.name = "offset"},
                                        {.name = "read-only", .yes_or_no = true},
                                        {.name = "nbd", .repeatable = true}}};

void check_setting(const Setting& setting) {
    ASSERT(std::ranges::count(keys, setting.key, &ConfigKey::name) == 1);
    ASSERT(!setting.value.empty() && setting.line > 0);
    ASSERT(setting.value.find('\0') == std::string::npos);
    ASSERT(setting.value.find('\n') == std::string::npos);
    const std::string word = word_of(setting, keys);
    ASSERT(word.starts_with("--" + setting.key) || (word.empty() && setting.value == "no"));
}

void play(std::string_view text) {
    auto settings = parse_config(text, "x.conf", keys);
    if (!settings) {
        ASSERT(settings.error().message.starts_with("x.conf:"));
        return;
    }
    std::string again;
    u32 line = 0;
    for (Setting& setting : *settings) {
        check_setting(setting);
        ASSERT(setting.line > line);
        line = setting.line;
        again += setting.key + "=" + setting.value + "\n";
    }
    u32 number = 0;
    for (Setting& setting : *settings) setting.line = ++number;
    const auto same = parse_config(again, "x.conf", keys);
    ASSERT(same && *same == *settings);
    ASSERT(std::ranges::count(*settings, "image", &Setting::key) <= 1);
}

}  // namespace
}  // namespace ringloop::control

extern "C" int LLVMFuzzerTestOneInput(const ringloop::u8* data, std::size_t size);

extern "C" int LLVMFuzzerTestOneInput(const ringloop::u8* data, std::size_t size) {
    ringloop::control::play({reinterpret_cast<const char*>(data), size});
    return 0;
}
