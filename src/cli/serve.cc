#include "cli/verbs.h"
#include "control/server.h"

namespace ringloop::cli {

int run(const Serve& command) { return control::serve(command.request); }

}  // namespace ringloop::cli
