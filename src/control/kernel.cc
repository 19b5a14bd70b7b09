#include "control/kernel.h"

#include <sys/stat.h>
#include <sys/utsname.h>

#include "control/files.h"

namespace ringloop::control {

std::string kernel_release() {
    utsname name{};
    ::uname(&name);
    return name.release;
}

bool has_driver(const std::string& module) {
    if (path_exists("/sys/module/" + module)) return true;
    const std::string directory = "/lib/modules/" + kernel_release();
    for (const char* list : {"/modules.dep", "/modules.builtin"}) {
        const auto text = read_text(directory + list);
        if (text && text->find("/" + module + ".ko") != std::string::npos) return true;
    }
    return false;
}

bool path_exists(const std::string& path) {
    struct stat status{};
    return ::stat(path.c_str(), &status) == 0;
}

}  // namespace ringloop::control
