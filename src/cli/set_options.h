// The words of `set` that take a check before they are values.
#pragma once

#include <CLI/CLI.hpp>
#include <optional>
#include <string>

#include "control/set.h"

namespace ringloop::cli {

struct SetTexts {
    std::string backing_file;
    std::string direct_io;
    std::string read_only;
    std::string size;
    std::string on_error;
    std::string autoclear;
    std::string watch_size;
};

void add_set_options(CLI::App& verb, control::Change& change, SetTexts& texts);
// A word that means nothing.
Status read_set_texts(const SetTexts& texts, control::Change& change);

}  // namespace ringloop::cli
