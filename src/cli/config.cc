#include "cli/config.h"

#include <algorithm>
#include <cerrno>
#include <span>

#include "cli/arguments.h"
#include "control/config_file.h"

namespace ringloop::cli {
namespace {

using control::ConfigKey;
using control::DeviceOptions;
using control::Setting;

// The image is no option; it stands at the end, and may be called --help.
Result<DeviceOptions> options_of(std::span<const Setting> settings, std::span<const ConfigKey> keys,
                                 const std::string& image) {
    std::vector<std::string> words;
    for (const Setting& setting : settings) {
        if (setting.key == "image") continue;
        if (std::string word = control::word_of(setting, keys); !word.empty()) {
            words.push_back(std::move(word));
        }
    }
    words.insert(words.end(), {"--", image});
    return parse_device_options(words);
}

// The line that is wrong by itself, for a file whose settings were refused: "disk.conf:3".
std::string place_of(const Error& error, std::span<const Setting> settings,
                     std::span<const ConfigKey> keys, const std::string& path) {
    for (const Setting& setting : settings) {
        const auto alone = options_of({&setting, 1}, keys, "/");
        if (!alone && alone.error().message == error.message) {
            return fmt::format("{}:{}", path, setting.line);
        }
    }
    return path;
}

Status check_absolute(const std::string& path, const char* key, const std::string& file) {
    if (path.empty() || path.starts_with('/')) return {};
    return fail(EINVAL, "{}: {} '{}': relative to nothing here; write a path that begins with /",
                file, key, path);
}

// Whoever reads the file may do so from anywhere.
Status check_paths(const DeviceOptions& options, const std::string& file) {
    TRY(check_absolute(options.image, "image", file));
    TRY(check_absolute(options.exported.tls_certificates, "tls-certificates", file));
    TRY(check_absolute(options.exported.tls_psk, "tls-psk", file));
    for (const control::Address& address : options.exported.addresses) {
        if (address.kind == control::Address::Kind::unix) {
            TRY(check_absolute(address.path, "nbd = unix:", file));
        }
    }
    return {};
}

}  // namespace

Result<DeviceOptions> configured_options(const std::string& directory, const std::string& name) {
    TRY(control::check_name(name));
    const std::string path = control::config_path(directory, name);
    const auto text = control::read_config(path);
    if (!text) return std::unexpected(text.error());
    const std::vector<ConfigKey> keys = config_keys();
    const auto settings = control::parse_config(*text, path, keys);
    if (!settings) return std::unexpected(settings.error());
    const auto image = std::ranges::find(*settings, "image", &Setting::key);
    if (image == settings->end()) {
        return fail(EINVAL, "{}: no image; write a line image = PATH", path);
    }
    auto options = options_of(*settings, keys, image->value);
    if (!options) {
        const Error& error = options.error();
        return fail(error.number, "{}: {}", place_of(error, *settings, keys, path), error.message);
    }
    TRY(check_paths(*options, path));
    options->name = name;
    return options;
}

Result<std::vector<std::string>> configured_names(const std::string& directory,
                                                  const std::vector<std::string>& names, bool all) {
    if (all) return control::config_names(directory);
    std::vector<std::string> once;
    for (const std::string& name : names) {
        if (std::ranges::find(once, name) == once.end()) once.push_back(name);
    }
    return once;
}

}  // namespace ringloop::cli
