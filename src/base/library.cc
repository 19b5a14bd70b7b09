#include "base/library.h"

#include <dlfcn.h>

#include <cerrno>

#include "base/assert.h"

namespace ringloop {

Status find_symbols(const Library& library, std::span<const char* const> symbols,
                    std::span<void*> addresses) {
    ASSERT(symbols.size() == addresses.size());
    // Its text begins with the name of the file.
    const auto refuse = [&library](const char* cause) {
        return fail(ENOENT, "{}; install the Debian package {}, or {}", cause, library.package,
                    library.alternative);
    };
    void* const handle = ::dlopen(library.file, RTLD_NOW | RTLD_LOCAL);
    if (!handle) return refuse(::dlerror());
    for (std::size_t i = 0; i < symbols.size(); ++i) {
        addresses[i] = ::dlsym(handle, symbols[i]);
        if (!addresses[i]) return refuse(::dlerror());
    }
    return {};
}

}  // namespace ringloop
