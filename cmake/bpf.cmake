# The kernel's side of src/cgroup/issuers: compiled for BPF, by clang whatever compiles the rest,
# and embedded as bytes. Where clang or the headers of libbpf are missing, the program is built
# without, and says so when it is asked for an issuer.

# What a checker of the sources needs beside them.
add_custom_target(generated)

pkg_check_modules(libbpf QUIET libbpf>=1.0)
find_program(BPF_CLANG NAMES clang-19 clang)

# ringloop_bpf_program(<target> <source>): its bytes, as text, are in generated/<source>.inc, and
# RINGLOOP_BPF is defined for <target>.
function(ringloop_bpf_program target source)
    set(makes_bpf 1)
    if(BPF_CLANG)
        execute_process(COMMAND ${BPF_CLANG} -target bpf -x c -c -o /dev/null /dev/null
            RESULT_VARIABLE makes_bpf OUTPUT_QUIET ERROR_QUIET)
    endif()
    if(NOT makes_bpf EQUAL 0 OR NOT libbpf_FOUND)
        message(STATUS "clang for BPF or libbpf not found: who issued a ublk request will not be "
            "known (packages clang-19, libbpf-dev)")
        return()
    endif()

    get_filename_component(name ${source} NAME_WLE)
    set(input ${PROJECT_SOURCE_DIR}/${source})
    set(object ${PROJECT_BINARY_DIR}/generated/${name}.o)
    set(text ${PROJECT_BINARY_DIR}/generated/${name}.inc)
    set(includes -I${PROJECT_SOURCE_DIR}/src)
    foreach(folder IN LISTS libbpf_INCLUDE_DIRS)
        list(APPEND includes -I${folder})
    endforeach()
    # <asm/types.h>, which clang does not look for when it compiles for another machine.
    if(CMAKE_LIBRARY_ARCHITECTURE)
        list(APPEND includes -idirafter /usr/include/${CMAKE_LIBRARY_ARCHITECTURE})
    endif()
    # -g: libbpf finds the kernel's structures by the types of the program (BTF).
    add_custom_command(OUTPUT ${text}
        COMMAND ${BPF_CLANG} -target bpf -O2 -g -Wall -Wextra -Werror ${includes}
            -MMD -MF ${object}.d -MT ${text} -c ${input} -o ${object}
        COMMAND ${CMAKE_COMMAND} -DINPUT=${object} -DOUTPUT=${text}
            -P ${PROJECT_SOURCE_DIR}/cmake/embed.cmake
        DEPENDS ${input} ${PROJECT_SOURCE_DIR}/cmake/embed.cmake
        DEPFILE ${object}.d
        COMMENT "Building BPF program ${source}" VERBATIM)
    add_custom_target(${name}.inc DEPENDS ${text})
    add_dependencies(generated ${name}.inc)
    target_sources(${target} PRIVATE ${text})
    target_include_directories(${target} SYSTEM PRIVATE ${libbpf_INCLUDE_DIRS})
    target_compile_definitions(${target} PRIVATE RINGLOOP_BPF)
endfunction()
