// Arguments of the verbs that read files of /etc/ringloop. Of arguments.cc alone.
#pragma once

#include <vector>

#include "cli/arguments.h"
#include "control/config_file.h"

namespace CLI {
class App;
}

namespace ringloop::cli {

void add_configured_verbs(CLI::App& app, Up& up, Down& down);
void add_system_verbs(CLI::App& app, UdevProperties& udev, SystemdGenerator& generator);
void add_config_options(CLI::App& verb, Serve& serve);

// The options of a device as keys of a file.
std::vector<control::ConfigKey> config_keys_of(const CLI::App& device);

}  // namespace ringloop::cli
