# What every target of ours is compiled with.
add_library(splice_options INTERFACE)
target_include_directories(splice_options INTERFACE ${PROJECT_SOURCE_DIR})
target_compile_options(splice_options INTERFACE
  -Wall -Wextra -Wpedantic -Wshadow -Wconversion -Wno-sign-conversion -Wnon-virtual-dtor
  -Wold-style-cast -Woverloaded-virtual -Wcast-qual -Werror
  -fno-strict-aliasing -fstack-protector-strong)
# datapath/ is C: casts there are C's. GCC cannot switch a warning off by folder, so its headers do.
if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
  # False alarms of GCC 12 inside the standard library at -O2.
  target_compile_options(splice_options INTERFACE -Wno-array-bounds -Wno-stringop-overflow -Wno-restrict)
endif()
target_compile_definitions(splice_options INTERFACE SPLICELB_VERSION="${PROJECT_VERSION}")

if(SPLICELB_SANITIZE)
  target_compile_options(splice_options INTERFACE -fsanitize=${SPLICELB_SANITIZE} -fno-omit-frame-pointer
    -fno-sanitize-recover=all)
  target_link_options(splice_options INTERFACE -fsanitize=${SPLICELB_SANITIZE})
  if(CMAKE_CXX_COMPILER_ID STREQUAL "GNU")
    # The sanitizers' own code makes GCC see uninitialised members inside Boost.
    target_compile_options(splice_options INTERFACE -Wno-maybe-uninitialized)
  endif()
  if(SPLICELB_SANITIZE MATCHES "thread")
    # ThreadSanitizer sees locks and atomics, no fences; Asio's stand besides its locks.
    target_compile_definitions(splice_options INTERFACE BOOST_ASIO_DISABLE_FENCED_BLOCK)
  endif()
endif()
if(SPLICELB_FUZZ)
  target_compile_options(splice_options INTERFACE -fsanitize=fuzzer-no-link,address,undefined
    -fno-omit-frame-pointer -fno-sanitize-recover=undefined)
  # Spans and views judge their indices, too.
  target_compile_definitions(splice_options INTERFACE _GLIBCXX_ASSERTIONS)
  target_link_options(splice_options INTERFACE -fsanitize=address,undefined)
endif()

# splice_off_packet_path(FILE...): sources of this folder that no packet waits for. They include the heaviest libraries,
# and half of what they take to compile is optimisation.
function(splice_off_packet_path)
  set_source_files_properties(${ARGN} PROPERTIES COMPILE_OPTIONS "$<$<CONFIG:Release>:-O1>")
endfunction()
