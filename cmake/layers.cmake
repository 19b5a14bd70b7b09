# One static library for each folder of src/, made of whatever sources lie in it: adding a file
# needs no edit here. A folder without sources is a library of headers only.

set_property(GLOBAL PROPERTY ringloop_lower_layers "")
set_property(GLOBAL PROPERTY ringloop_folders "")

# ringloop_folder_library(<target> <folder> GLOB|GLOB_RECURSE [EXCEPTIONS] [LINK <target>...])
# EXCEPTIONS: the folder calls libraries that throw. Everything below control is compiled without,
# because no exception may cross the data path.
function(ringloop_folder_library target folder glob)
    cmake_parse_arguments(arg "EXCEPTIONS" "" "LINK" ${ARGN})
    set(directory ${PROJECT_SOURCE_DIR}/src/${folder})
    file(${glob} sources CONFIGURE_DEPENDS ${directory}/*.cc)
    file(${glob} tests CONFIGURE_DEPENDS ${directory}/*_test.cc)
    if(tests)
        list(REMOVE_ITEM sources ${tests})
    endif()
    list(FILTER sources EXCLUDE REGEX "_main[.]cc$")  # of programs, not of libraries

    if(sources)
        add_library(${target} STATIC ${sources})
        target_link_libraries(${target} PUBLIC ringloop_flags ${arg_LINK})
        if(NOT arg_EXCEPTIONS)
            target_compile_options(${target} PRIVATE -fno-exceptions)
            ringloop_use_precompiled(${target} precompiled)
        else()
            ringloop_use_precompiled(${target} precompiled_throwing)
        endif()
        if(arg_EXCEPTIONS AND CMAKE_BUILD_TYPE STREQUAL "Release")
            # Never on the data path, and made of header libraries: what counts here is that a
            # server's memory is locked, so each page of code that start-up touched stays.
            target_compile_options(${target} PRIVATE -Os)
        endif()
    else()
        add_library(${target} INTERFACE)
        target_link_libraries(${target} INTERFACE ringloop_flags ${arg_LINK})
    endif()

    set_property(GLOBAL APPEND PROPERTY ringloop_folders ${folder})
    string(REPLACE "/" "_" name ${folder})
    set_property(GLOBAL PROPERTY ringloop_tests_of_${name} "${tests}")
endfunction()

# ringloop_layer(<folder> [EXCEPTIONS] [THIRD_PARTY <target>...])
# Links every layer declared so far.
function(ringloop_layer folder)
    cmake_parse_arguments(arg "EXCEPTIONS" "" "THIRD_PARTY" ${ARGN})
    get_property(lower GLOBAL PROPERTY ringloop_lower_layers)
    set(options)
    if(arg_EXCEPTIONS)
        set(options EXCEPTIONS)
    endif()
    ringloop_folder_library(ringloop_${folder} ${folder} GLOB_RECURSE ${options}
        LINK ${lower} ${arg_THIRD_PARTY})
    # Highest first, the order in which a linker reads static libraries.
    set_property(GLOBAL PROPERTY ringloop_lower_layers ringloop_${folder} ${lower})
endfunction()

# The frontends are one layer of several libraries which do not see each other; what they share
# lies directly in src/frontend.
function(ringloop_frontends)
    get_property(lower GLOBAL PROPERTY ringloop_lower_layers)
    ringloop_folder_library(ringloop_frontend frontend GLOB LINK ${lower})

    set(frontends)
    file(GLOB entries CONFIGURE_DEPENDS LIST_DIRECTORIES true ${PROJECT_SOURCE_DIR}/src/frontend/*)
    foreach(entry IN LISTS entries)
        if(IS_DIRECTORY ${entry})
            get_filename_component(name ${entry} NAME)
            ringloop_folder_library(ringloop_frontend_${name} frontend/${name} GLOB_RECURSE
                LINK ringloop_frontend ${lower})
            list(APPEND frontends ringloop_frontend_${name})
        endif()
    endforeach()
    set_property(GLOBAL PROPERTY ringloop_frontends ${frontends})
    set_property(GLOBAL PROPERTY ringloop_lower_layers ${frontends} ringloop_frontend ${lower})
endfunction()

# The simulator sees everything up to the frontends; only tests and ringloop-sim link it.
function(ringloop_simulator)
    get_property(frontends GLOBAL PROPERTY ringloop_frontends)
    ringloop_folder_library(ringloop_sim sim GLOB_RECURSE EXCEPTIONS
        LINK ${frontends} ringloop_frontend ringloop_cgroup)
    if(CMAKE_BUILD_TYPE STREQUAL "Release")
        target_compile_options(ringloop_sim PRIVATE -O2)  # how much is simulated is what counts
    endif()
endfunction()

# build/<preset>/ringloop-sim, which says of which commit it is.
function(ringloop_sim_program)
    find_program(GIT_PROGRAM git)
    set(commit unknown)
    if(GIT_PROGRAM)
        execute_process(COMMAND ${GIT_PROGRAM} -C ${PROJECT_SOURCE_DIR} rev-parse --short HEAD
            OUTPUT_VARIABLE head OUTPUT_STRIP_TRAILING_WHITESPACE ERROR_QUIET)
        if(head)
            set(commit ${head})
        endif()
    endif()
    add_executable(ringloop-sim ${PROJECT_SOURCE_DIR}/src/sim/ringloop_sim_main.cc)
    target_link_libraries(ringloop-sim PRIVATE ringloop_sim CLI11::CLI11)
    target_compile_definitions(ringloop-sim PRIVATE RINGLOOP_COMMIT="${commit}")
    set_target_properties(ringloop-sim PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
endfunction()

# <folder>_test from the x_test.cc beside the code, each test known to ctest by its own name.
# The target unit_tests builds all of them and nothing that they do not link.
function(ringloop_unit_tests)
    add_custom_target(unit_tests)
    if(NOT GTest_FOUND)
        message(STATUS "GoogleTest not found: no unit tests (package libgtest-dev)")
        return()
    endif()
    include(GoogleTest)
    get_property(folders GLOBAL PROPERTY ringloop_folders)
    foreach(folder IN LISTS folders)
        string(REPLACE "/" "_" name ${folder})
        get_property(tests GLOBAL PROPERTY ringloop_tests_of_${name})
        # What has one thread has nothing for the thread sanitizer: a quarter of that build.
        set(one_thread abi cli sim)
        if(NOT tests OR (RINGLOOP_SANITIZE STREQUAL "thread" AND folder IN_LIST one_thread))
            continue()
        endif()
        add_executable(${name}_test EXCLUDE_FROM_ALL ${tests})
        target_link_libraries(${name}_test PRIVATE
            ringloop_sim ringloop_${name} GTest::gtest GTest::gtest_main)
        ringloop_use_precompiled(${name}_test precompiled_tests)
        add_dependencies(unit_tests ${name}_test)
        # PRE_TEST: a test that cannot even list itself fails the test run, not the build.
        gtest_discover_tests(${name}_test DISCOVERY_MODE PRE_TEST DISCOVERY_TIMEOUT 240
            TEST_PREFIX "${folder}: " PROPERTIES LABELS unit TIMEOUT 240)
    endforeach()
endfunction()

function(ringloop_micro_benchmarks)
    file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/bench/*_micro.cc)
    if(NOT sources)
        return()
    endif()
    if(NOT benchmark_FOUND)
        message(STATUS "Google Benchmark not found: no bench_micro (package libbenchmark-dev)")
        return()
    endif()
    add_executable(bench_micro ${sources})
    target_link_libraries(bench_micro PRIVATE
        ringloop_sim ringloop_control benchmark::benchmark benchmark::benchmark_main)
endfunction()

# The programs that bench/in_process.py runs: the engine under a load of its own, and what the
# machine charges for its parts. `make bench` builds them; nobody else has to wait for them.
function(ringloop_native_benchmarks)
    add_custom_target(native_benchmarks)
    foreach(name IN ITEMS in_process limits)
        add_executable(${name}_bench EXCLUDE_FROM_ALL ${PROJECT_SOURCE_DIR}/bench/${name}.cc)
        target_link_libraries(${name}_bench PRIVATE
            ringloop_control CLI11::CLI11 nlohmann_json::nlohmann_json)
        set_target_properties(${name}_bench PROPERTIES
            RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
        add_dependencies(native_benchmarks ${name}_bench)
    endforeach()
endfunction()

# One program for each fuzz/<part>_<what>_fuzz.cc, beside its corpus fuzz/corpus/<name>. <part> is a
# frontend or a layer, and what the program links; the simulator costs nothing, it is headers. The
# target fuzzers builds all of them and nothing that they do not link.
function(ringloop_fuzzers)
    if(NOT RINGLOOP_FUZZ)
        return()
    endif()
    add_custom_target(fuzzers)
    file(GLOB sources CONFIGURE_DEPENDS ${PROJECT_SOURCE_DIR}/fuzz/*_fuzz.cc)
    foreach(source IN LISTS sources)
        get_filename_component(name ${source} NAME_WE)
        string(REGEX REPLACE "_.*" "" part ${name})
        set(library ringloop_${part})
        if(TARGET ringloop_frontend_${part})
            set(library ringloop_frontend_${part})
        endif()
        add_executable(${name} EXCLUDE_FROM_ALL ${source})
        target_link_libraries(${name} PRIVATE ${library} ringloop_sim)
        target_link_options(${name} PRIVATE -fsanitize=fuzzer)
        set_target_properties(${name} PROPERTIES RUNTIME_OUTPUT_DIRECTORY ${PROJECT_BINARY_DIR})
        add_dependencies(fuzzers ${name})
    endforeach()
endfunction()

function(ringloop_tidy_tests)
    find_program(PYTHON3_PROGRAM python3 HINTS /usr/bin)
    if(NOT PYTHON3_PROGRAM)
        message(STATUS "python3 not found: no tidy test (package python3)")
        return()
    endif()
    add_test(NAME tidy COMMAND ${PYTHON3_PROGRAM} ${PROJECT_SOURCE_DIR}/tools/tidy.py)
    add_test(NAME tidy_self_test
        COMMAND ${PYTHON3_PROGRAM} ${PROJECT_SOURCE_DIR}/tools/tidy_test.py)
    set_tests_properties(tidy tidy_self_test PROPERTIES LABELS tidy TIMEOUT 120)
endfunction()
