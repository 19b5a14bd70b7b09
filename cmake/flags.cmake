# The language, the warnings and the sanitizers: one place for every target of this project.

option(RINGLOOP_WERROR "Treat every warning as an error" OFF)
set(RINGLOOP_SANITIZE "" CACHE STRING "Argument of -fsanitize=, empty for none")
option(RINGLOOP_FUZZ "Build the fuzzers of fuzz/, with clang only" OFF)

set(CMAKE_CXX_STANDARD 23)
set(CMAKE_CXX_STANDARD_REQUIRED ON)
set(CMAKE_CXX_EXTENSIONS OFF)
set(CMAKE_POSITION_INDEPENDENT_CODE ON)

# No -DNDEBUG: the project's own assert stays on in release. -g1 gives a core dump names and lines.
set(CMAKE_CXX_FLAGS_RELEASE "-O2 -g1")
set(CMAKE_CXX_FLAGS_DEBUG "-Og -g")
# Half the compile time of -O1, and nothing optimized away before a sanitizer has seen it. -g1 is
# all that its reports read.
set(CMAKE_CXX_FLAGS_SANITIZE "-O0 -g1")
set(CMAKE_EXE_LINKER_FLAGS_SANITIZE "")

if(NOT CMAKE_BUILD_TYPE)
    set(CMAKE_BUILD_TYPE Release CACHE STRING "Release, Debug or Sanitize" FORCE)
endif()

find_program(CCACHE_PROGRAM ccache)
if(CCACHE_PROGRAM AND NOT CMAKE_CXX_COMPILER_LAUNCHER)
    if(CMAKE_BUILD_TYPE STREQUAL "Sanitize")
        # Or it takes no file that uses a precompiled header (ccache(1), "PRECOMPILED HEADERS").
        set(ringloop_ccache CCACHE_SLOPPINESS=pch_defines,time_macros)
    else()
        # What one clone compiled the next one has, wherever it lies; otherwise every path is a part
        # of what ccache compares. A precompiled header has paths in it in any case.
        set(ringloop_ccache CCACHE_BASEDIR=${PROJECT_SOURCE_DIR} CCACHE_NOHASHDIR=1)
    endif()
    set(CMAKE_CXX_COMPILER_LAUNCHER ${CMAKE_COMMAND} -E env ${ringloop_ccache} ${CCACHE_PROGRAM})
endif()

add_library(ringloop_flags INTERFACE)
target_include_directories(ringloop_flags INTERFACE
    ${PROJECT_SOURCE_DIR}/src ${PROJECT_BINARY_DIR}/generated)
# Taken back: {.read_only = true} names the fields it means, the others have their defaults; and
# ASSERT(!"a kind of access") is how a place that cannot be reached says what it is.
target_compile_options(ringloop_flags INTERFACE
    -Wall -Wextra -Wpedantic -Wconversion -Wsign-conversion -Wshadow -Wnon-virtual-dtor
    -Wold-style-cast -Woverloaded-virtual
    -Wno-missing-field-initializers
    $<$<CXX_COMPILER_ID:Clang>:-Wthread-safety>
    $<$<CXX_COMPILER_ID:Clang>:-Wno-string-conversion>
    -fno-omit-frame-pointer
    $<$<BOOL:${RINGLOOP_WERROR}>:-Werror>)
# What is never called is not resident either: a tenth of an idle server's memory.
target_compile_options(ringloop_flags INTERFACE -ffunction-sections -fdata-sections)
target_link_options(ringloop_flags INTERFACE -Wl,--as-needed -Wl,--gc-sections)

if(RINGLOOP_SANITIZE)
    target_compile_options(ringloop_flags INTERFACE
        -fsanitize=${RINGLOOP_SANITIZE} -fno-sanitize-recover=all)
    target_link_options(ringloop_flags INTERFACE -fsanitize=${RINGLOOP_SANITIZE})
endif()

# Only coverage for the libraries: main() of libFuzzer comes with the fuzzers themselves.
if(RINGLOOP_FUZZ)
    if(NOT CMAKE_CXX_COMPILER_ID STREQUAL "Clang")
        message(FATAL_ERROR "RINGLOOP_FUZZ needs clang, for libFuzzer: cmake --preset fuzz")
    endif()
    target_compile_options(ringloop_flags INTERFACE -fsanitize=fuzzer-no-link)
    target_link_options(ringloop_flags INTERFACE -fsanitize=fuzzer-no-link)
endif()
