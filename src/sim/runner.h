// Runs, one after the other in a process of their own, so that a broken assertion of the server is
// an outcome like another; and what makes a short story of a run that failed.
#pragma once

#include <string>

#include "sim/world.h"

namespace ringloop::sim {

struct Outcome {
    bool failed = false;
    bool crashed = false;  // an assertion, a signal, a run that never ended
    Verdict verdict;       // of a run that did not crash
};

// Once, in a child process that is given seconds_max of the processor's time. `keep` > 0: a run
// that fails tells the last `keep` events that have to do with it, on stdout.
Outcome run_apart(const Config& config, u64 keep = 0, u32 seconds_max = 30);

// A configuration that fails too and has less of everything; tries for at most seconds_max.
Config shrink(const Config& failing, u32 seconds_max);

}  // namespace ringloop::sim
