# Files that an executable carries: splice_embed(target symbol file) adds an object with the bytes of the file, between
# the symbols splice_embedded_SYMBOL and splice_embedded_SYMBOL_end (libsplice/base/embedded.hpp declares them).
function(splice_embed target symbol file)
  set(source ${CMAKE_CURRENT_BINARY_DIR}/embedded_${symbol}.S)
  file(CONFIGURE OUTPUT ${source} CONTENT
"    .section .rodata
    .global splice_embedded_@symbol@
    .global splice_embedded_@symbol@_end
splice_embedded_@symbol@:
    .incbin \"@file@\"
splice_embedded_@symbol@_end:
    .byte 0
    .section .note.GNU-stack,\"\",%progbits
" @ONLY)
  set_source_files_properties(${source} PROPERTIES OBJECT_DEPENDS ${file} COMPILE_OPTIONS "" LANGUAGE ASM)
  target_sources(${target} PRIVATE ${source})
endfunction()
