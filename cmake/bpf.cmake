# Kernel programs: clang for the BPF target. The same headers of libsplice/datapath/ that the C++ side
# includes; nothing else of ours.
find_program(CLANG_BPF NAMES clang-19 clang REQUIRED)
find_program(BPFTOOL NAMES bpftool PATHS /usr/sbin /sbin REQUIRED)

# splice_bpf_object(TARGET SOURCE): compiles SOURCE to ${CMAKE_CURRENT_BINARY_DIR}/<name>.o and sets
# ${TARGET}_OBJECT to that path; the custom target ${TARGET} builds it.
function(splice_bpf_object target source)
  get_filename_component(name ${source} NAME_WE)
  set(object ${CMAKE_CURRENT_BINARY_DIR}/${name}.bpf.o)
  add_custom_command(
    OUTPUT ${object}
    COMMAND ${CLANG_BPF} -target bpf -mcpu=v3 -O2 -g -std=gnu11 -fno-strict-aliasing -Wall -Wextra -Werror -Wno-unused-function
            -Wno-address-of-packed-member -I${PROJECT_SOURCE_DIR}
            -idirafter /usr/include/${CMAKE_LIBRARY_ARCHITECTURE}
            -MD -MF ${object}.d -c ${CMAKE_CURRENT_SOURCE_DIR}/${source} -o ${object}
    DEPENDS ${CMAKE_CURRENT_SOURCE_DIR}/${source}
    DEPFILE ${object}.d
    COMMENT "BPF ${source}"
    VERBATIM)
  add_custom_target(${target} ALL DEPENDS ${object})
  set(${target}_OBJECT ${object} PARENT_SCOPE)
endfunction()

add_custom_target(bpf_skeletons COMMENT "every skeleton's header")

# splice_bpf_skeleton(TARGET SOURCE): the same, and <name>.skel.h beside it, which carries the program's bytes. Link
# TARGET_skeleton to include it.
function(splice_bpf_skeleton target source)
  splice_bpf_object(${target} ${source})
  get_filename_component(name ${source} NAME_WE)
  set(skeleton ${CMAKE_CURRENT_BINARY_DIR}/${name}.skel.h)
  add_custom_command(
    OUTPUT ${skeleton}
    COMMAND sh -c "'${BPFTOOL}' gen skeleton '${${target}_OBJECT}' name '${name}' > '${skeleton}.new' && mv '${skeleton}.new' '${skeleton}'"
    DEPENDS ${${target}_OBJECT}
    COMMENT "BPF skeleton ${name}"
    VERBATIM)
  add_custom_target(${target}_header DEPENDS ${skeleton})
  add_dependencies(bpf_skeletons ${target}_header)
  add_library(${target}_skeleton INTERFACE)
  add_dependencies(${target}_skeleton ${target}_header)
  target_include_directories(${target}_skeleton SYSTEM INTERFACE ${CMAKE_CURRENT_BINARY_DIR})
endfunction()
