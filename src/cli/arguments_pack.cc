// The verbs that read files of /etc/ringloop, as arguments.cc has the others.
#include <CLI/CLI.hpp>

#include "cli/arguments_pack.h"
#include "control/config_file.h"

namespace ringloop::cli {
namespace {

void add_configured(CLI::App& verb, Configured& configured, const char* all_text) {
    verb.add_option("NAME", configured.names, "devices that have a file NAME.conf");
    verb.add_flag("-a,--all", configured.all, all_text);
    verb.add_option("--config-dir", configured.directory, "where the files are [/etc/ringloop]");
    verb.add_flag("--json", configured.json, "print objects");
}

}  // namespace

void add_configured_verbs(CLI::App& app, Up& up, Down& down) {
    auto& up_verb = *app.add_subcommand("up", "attach what files of /etc/ringloop describe");
    add_configured(up_verb, up.configured, "every device that has a file");
    auto& down_verb = *app.add_subcommand("down", "detach what files of /etc/ringloop describe");
    add_configured(down_verb, down.configured, "every device that has a file");
    down_verb.add_option("--timeout", down.timeout_s,
                         "seconds to wait for others to let go of each device [10]");
    down_verb.add_flag("--force", down.force, "take it from whoever uses it");
}

void add_system_verbs(CLI::App& app, UdevProperties& udev, SystemdGenerator& generator) {
    auto& udev_verb = *app.add_subcommand("udev-properties", "of a disk, for udev")->group("");
    udev_verb.add_option("DEVICE", udev.device)->required();
    auto& generator_verb =
        *app.add_subcommand("systemd-generator", "units that systemd makes")->group("");
    generator_verb.add_option("FOLDER", generator.folder)->required();
    generator_verb.add_option("FOLDERS", generator.folders);
}

void add_config_options(CLI::App& verb, Serve& serve) {
    verb.add_option("--config", serve.config_name, "serve what the file NAME.conf describes");
    verb.add_option("--config-dir", serve.config_directory, "where the files are [/etc/ringloop]");
}

std::vector<control::ConfigKey> config_keys_of(const CLI::App& attach) {
    std::vector<control::ConfigKey> keys = {{.name = "image"}};
    for (const CLI::Option* option : attach.get_options()) {
        const std::vector<std::string>& names = option->get_lnames();
        if (names.empty() || names[0] == "name" || names[0] == "help") continue;
        // A flag with a word of its own, --direct-io{on}, takes others as well.
        const bool flag = option->get_expected_max() == 0;
        const bool takes_text = !flag || option->get_flag_value(names[0], "") != "true";
        keys.push_back({.name = names[0],
                        .yes_or_no = !takes_text,
                        .repeatable = !flag && option->get_items_expected_max() > 1});
    }
    return keys;
}

}  // namespace ringloop::cli
