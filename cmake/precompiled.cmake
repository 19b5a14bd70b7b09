# Precompiled headers, for the sanitizer builds only: there the compiler spends more time on the
# headers of others than on this project, and CI makes these builds from nothing each time. The
# release build goes without, so a file that does not include what it uses still fails to build.
# From nothing, asan with its fuzzers takes 430 s of processor time, tsan 340 s. Without, they kept
# two cores busy for 565 and 413 s.

# Its time in the precompiled file would make a new one of every file that uses it.
if(CMAKE_BUILD_TYPE STREQUAL "Sanitize")
    target_compile_options(ringloop_flags INTERFACE "SHELL:-Xclang -fno-pch-timestamp")
endif()

set(ringloop_precompiled_std
    <algorithm> <array> <atomic> <bit> <cerrno> <charconv> <chrono> <condition_variable> <cstring>
    <deque> <expected> <functional> <limits> <memory> <mutex> <optional> <span> <string>
    <string_view> <thread> <utility> <vector> <fmt/format.h>)

# ringloop_precompiled(<name> LIBRARY|PROGRAM [OPTIONS <option>...] [LINK <target>...]
#                      [HEADERS <header>...])
# For the targets of that kind (-fPIC or -fPIE) with the same options.
function(ringloop_precompiled name kind)
    cmake_parse_arguments(arg "" "" "OPTIONS;LINK;HEADERS" ${ARGN})
    set(source ${PROJECT_BINARY_DIR}/generated/${name}.cc)
    file(WRITE ${source} "int main() {}  // only so that there is a target\n")
    if(kind STREQUAL PROGRAM)
        add_executable(${name} EXCLUDE_FROM_ALL ${source})
    else()
        add_library(${name} OBJECT EXCLUDE_FROM_ALL ${source})
    endif()
    target_link_libraries(${name} PRIVATE ringloop_flags fmt::fmt Threads::Threads ${arg_LINK})
    target_compile_options(${name} PRIVATE ${arg_OPTIONS})
    target_precompile_headers(${name} PRIVATE ${ringloop_precompiled_std} ${arg_HEADERS})
endfunction()

# ringloop_use_precompiled(<target> <name>): does nothing where there are none.
function(ringloop_use_precompiled target name)
    if(TARGET ${name})
        target_precompile_headers(${target} REUSE_FROM ${name})
    endif()
endfunction()

if(CMAKE_BUILD_TYPE STREQUAL "Sanitize")
    ringloop_precompiled(precompiled LIBRARY OPTIONS -fno-exceptions)
    ringloop_precompiled(precompiled_throwing LIBRARY
        LINK nlohmann_json::nlohmann_json HEADERS <nlohmann/json.hpp>)
    add_dependencies(generated precompiled precompiled_throwing)  # clang-tidy reads them too
    if(GTest_FOUND)
        ringloop_precompiled(precompiled_tests PROGRAM
            LINK nlohmann_json::nlohmann_json GTest::gtest
            HEADERS <nlohmann/json.hpp> <gtest/gtest.h>)
    endif()
endif()
