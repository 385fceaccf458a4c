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

# splice_precompile(TARGET): TARGET is compiled with the headers of the standard library and of fmt that nearly every
# source includes already parsed: half of what a source takes to compile. Each source still includes what it uses: the
# other presets compile without, so a header that is missing is an error there (make check, the fuzzers of make test).
option(SPLICELB_PRECOMPILE "parse the standard library's headers once" OFF)
function(splice_precompile target)
  if(NOT SPLICELB_PRECOMPILE)
    return()
  endif()
  if(NOT TARGET splice_precompiled)
    file(WRITE ${PROJECT_BINARY_DIR}/precompiled.cpp "")
    add_library(splice_precompiled STATIC ${PROJECT_BINARY_DIR}/precompiled.cpp)
    target_link_libraries(splice_precompiled PRIVATE splice_options fmt::fmt)
    target_precompile_headers(splice_precompiled PRIVATE <algorithm> <array> <charconv> <chrono> <cstring> <expected>
      <functional> <map> <memory> <mutex> <optional> <set> <span> <string> <string_view> <unordered_map> <variant> <vector>
      <fmt/format.h> <fmt/ranges.h>)
  endif()
  # The compiler takes it only where the same macros are defined, fmt's among them.
  target_compile_definitions(${target} PRIVATE $<TARGET_PROPERTY:fmt::fmt,INTERFACE_COMPILE_DEFINITIONS>)
  target_precompile_headers(${target} REUSE_FROM splice_precompiled)
endfunction()
