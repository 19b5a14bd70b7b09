// What the running kernel is and has.
#pragma once

#include <string>

namespace ringloop::control {

// "6.12.117+deb12-amd64"
std::string kernel_release();

// Whether the driver is loaded, built in, or installed as a module that can be loaded.
bool has_driver(const std::string& module);

bool path_exists(const std::string& path);

}  // namespace ringloop::control
