// Each verb does what its structure says, prints the outcome, and returns the exit code.
#pragma once

#include "cli/arguments.h"

namespace ringloop::cli {

int run(const Attach& command);
int run(const Serve& command);
int run(const Detach& command);
int run(const List& command);
int run(const StatusOf& command);
int run(const Resize& command);
int run(const Set& command);
int run(const Recover& command);
int run(const Upgrade& command);
int run(const Losetup& command);
int run(const Doctor& command);
int run(const Stats& command);
int run(const Metrics& command);
int run(const Log& command);
int run(const Top& command);
int run(const Verify& command);
int run(const Up& command);
int run(const Down& command);
int run(const UdevProperties& command);
int run(const SystemdGenerator& command);

}  // namespace ringloop::cli
