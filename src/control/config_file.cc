#include "control/config_file.h"

#include <dirent.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <memory>

#include "control/files.h"

namespace ringloop::control {
namespace {

constexpr std::string_view suffix = ".conf";
constexpr std::string_view blanks = " \t";

std::string_view trimmed(std::string_view text) {
    const std::size_t begin = text.find_first_not_of(blanks);
    if (begin == std::string_view::npos) return {};
    return text.substr(begin, text.find_last_not_of(blanks) - begin + 1);
}

bool is_control(char c) {
    const auto byte = static_cast<unsigned char>(c);
    return (byte < 0x20 && c != '\t') || byte == 0x7f;
}

const ConfigKey* find_key(std::string_view name, std::span<const ConfigKey> keys) {
    const auto found = std::ranges::find(keys, name, &ConfigKey::name);
    return found == keys.end() ? nullptr : &*found;
}

// One line that is neither empty nor a comment. The error is without the file and the line.
Result<Setting> parse_line(std::string_view line, std::span<const ConfigKey> keys) {
    if (const auto bad = std::ranges::find_if(line, is_control); bad != line.end()) {
        return fail(EINVAL, "a control character (\\x{:02x}); write plain text with Unix line ends",
                    static_cast<unsigned char>(*bad));
    }
    const std::size_t equals = line.find('=');
    if (equals == std::string_view::npos) {
        return fail(EINVAL, "'{}' is no setting; write key = value, or # before a comment", line);
    }
    const std::string_view name = trimmed(line.substr(0, equals));
    const std::string_view value = trimmed(line.substr(equals + 1));
    if (name == "name") {
        return fail(EINVAL, "'name' is not set here: the file's own name is; rename the file");
    }
    const ConfigKey* key = find_key(name, keys);
    if (!key) {
        return fail(EINVAL,
                    "no key '{}'; write image, or an option of ringloop attach without its dashes",
                    name);
    }
    if (value.empty()) {
        return fail(EINVAL, "'{}' has no value; write one, or remove the line", name);
    }
    if (key->yes_or_no && value != "yes" && value != "no") {
        return fail(EINVAL, "'{} = {}': write yes or no, and a comment on a line of its own", name,
                    value);
    }
    return Setting{.key = std::string(name), .value = std::string(value)};
}

}  // namespace

Result<std::vector<Setting>> parse_config(std::string_view text, std::string_view source,
                                          std::span<const ConfigKey> keys) {
    std::vector<Setting> settings;
    for (u32 number = 1; !text.empty(); ++number) {
        const std::size_t end = std::min(text.find('\n'), text.size());
        const std::string_view line = trimmed(text.substr(0, end));
        text.remove_prefix(std::min(end + 1, text.size()));
        if (line.empty() || line.starts_with('#')) continue;
        auto setting = parse_line(line, keys);
        if (!setting) {
            return fail(setting.error().number, "{}:{}: {}", source, number,
                        setting.error().message);
        }
        const auto before = std::ranges::find(settings, setting->key, &Setting::key);
        if (before != settings.end() && !find_key(setting->key, keys)->repeatable) {
            return fail(EINVAL, "{}:{}: '{}' is in line {} already; remove one of them", source,
                        number, setting->key, before->line);
        }
        setting->line = number;
        settings.push_back(std::move(*setting));
    }
    return settings;
}

std::string word_of(const Setting& setting, std::span<const ConfigKey> keys) {
    const ConfigKey* key = find_key(setting.key, keys);
    if (!key || !key->yes_or_no) return fmt::format("--{}={}", setting.key, setting.value);
    return setting.value == "yes" ? "--" + setting.key : "";
}

std::string config_directory(const std::string& chosen) {
    if (!chosen.empty()) return chosen;
    const char* variable = std::getenv("RINGLOOP_CONFIG_DIR");
    return variable && *variable != '\0' ? variable : "/etc/ringloop";
}

std::string config_path(const std::string& directory, const std::string& name) {
    return fmt::format("{}/{}{}", directory, name, suffix);
}

Result<std::string> read_config(const std::string& path) {
    struct stat status{};
    if (::stat(path.c_str(), &status) != 0) {
        if (errno != ENOENT) return fail_errno(errno, "{}", path);
        return fail(ENOENT, "{}: there is no such file; write one with image = PATH in it", path);
    }
    if (!S_ISREG(status.st_mode))
        return fail(EINVAL, "{}: not a regular file; write one with image = PATH in it", path);
    auto text = read_text(path);
    if (!text || text->size() <= config_file_bytes_max) return text;
    return fail(EFBIG,
                "{}: longer than {} KiB, as no file of settings is; see that it is the right one",
                path, config_file_bytes_max / kib);
}

Result<std::vector<std::string>> config_names(const std::string& directory) {
    const std::unique_ptr<DIR, int (*)(DIR*)> opened(::opendir(directory.c_str()), ::closedir);
    if (!opened) return fail_errno(errno, "{}", directory);
    std::vector<std::string> names;
    while (const dirent* entry = ::readdir(opened.get())) {
        std::string_view file = entry->d_name;
        if (file.starts_with('.') || !file.ends_with(suffix)) continue;
        file.remove_suffix(suffix.size());
        names.emplace_back(file);
    }
    std::ranges::sort(names);
    return names;
}

}  // namespace ringloop::control
