// The files of /etc/ringloop: NAME.conf says what `ringloop up NAME` attaches. Each line is
// `key = value`, empty, or a comment that begins with '#'. What a key means is not known here: a
// file becomes words of a command line, so that options have one parser.
#pragma once

#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "base/result.h"

namespace ringloop::control {

inline constexpr u64 config_file_bytes_max = 64 * kib;

// A key that may stand in a file: the long name of an option without its dashes.
struct ConfigKey {
    std::string name;
    bool yes_or_no = false;   // an option without a value: `yes` is to give it
    bool repeatable = false;  // may stand in several lines
};

struct Setting {
    std::string key;
    std::string value;
    u32 line = 0;  // from 1

    bool operator==(const Setting&) const = default;
};

// The settings of a file in its order, each of a key of `keys`. `source` names the file: errors
// begin with "SOURCE:LINE: ", and say what is wrong and what to write.
Result<std::vector<Setting>> parse_config(std::string_view text, std::string_view source,
                                          std::span<const ConfigKey> keys);

// The word of a command line that means the setting, "--key=value"; "" for a `no`.
std::string word_of(const Setting& setting, std::span<const ConfigKey> keys);

// "/etc/ringloop", $RINGLOOP_CONFIG_DIR where that is set, or what was `chosen`.
std::string config_directory(const std::string& chosen);
// "DIRECTORY/NAME.conf"
std::string config_path(const std::string& directory, const std::string& name);

// The content of a file, no more than config_file_bytes_max. ENOENT says what to make.
Result<std::string> read_config(const std::string& path);

// NAME of each NAME.conf, sorted; hidden files are none. ENOENT where there is no directory.
Result<std::vector<std::string>> config_names(const std::string& directory);

}  // namespace ringloop::control
