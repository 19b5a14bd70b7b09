// Files of /etc/ringloop as options of attach, for the verbs that read them.
#pragma once

#include <string>
#include <vector>

#include "base/result.h"
#include "control/options.h"

namespace ringloop::cli {

// What the file of `name` in `directory` says, with that name, checked like a command line. Errors
// name the file, the line where there is one, and what to write.
Result<control::DeviceOptions> configured_options(const std::string& directory,
                                                  const std::string& name);

// `names`, or all that have a file with `all`: sorted, none twice. ENOENT where there is no file.
Result<std::vector<std::string>> configured_names(const std::string& directory,
                                                  const std::vector<std::string>& names, bool all);

}  // namespace ringloop::cli
