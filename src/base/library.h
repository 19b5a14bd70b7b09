// A library that is loaded by whoever needs it first, instead of being linked: what a process does
// not load costs it neither time at its start nor memory, and may be missing from the system.
//
// The functions are called through a table, a struct of pointers typed by the library's headers:
//
//     struct Table { decltype(&::deflate) deflate; decltype(&::inflate) inflate; };
//     auto table = load_library<Table>(zlib, std::array{"deflate", "inflate"});
#pragma once

#include <array>
#include <bit>
#include <span>

#include "base/result.h"

namespace ringloop {

struct Library {
    const char* file;         // its soname, which the dynamic linker looks for
    const char* package;      // Debian's
    const char* alternative;  // what a person can do without it, behind "or"
};

// The addresses of `symbols`, which may also be of a library that this one is linked with. Loaded
// at once and for good: nothing of it is looked up later, when its path may mean something else.
// Blocks; reads files. An error names the library, the package and the alternative. Any thread.
Status find_symbols(const Library& library, std::span<const char* const> symbols,
                    std::span<void*> addresses);

// `symbols` in the order of the members of Table.
template <typename Table, std::size_t count>
Result<Table> load_library(const Library& library, const std::array<const char*, count>& symbols) {
    static_assert(sizeof(Table) == count * sizeof(void*), "a symbol for each member");
    std::array<void*, count> addresses;
    TRY(find_symbols(library, symbols, addresses));
    return std::bit_cast<Table>(addresses);
}

}  // namespace ringloop
