// Files that an executable carries; splice_embed() of cmake/embed.cmake puts them there.
#pragma once

#include <string_view>

// The file that was embedded under that name, as std::string_view: SPLICE_EMBEDDED(openapi). For one source
// file each, outside of namespaces.
#define SPLICE_EMBEDDED_DECLARE(symbol)               \
    extern "C" const char splice_embedded_##symbol[]; \
    extern "C" const char splice_embedded_##symbol##_end[]
#define SPLICE_EMBEDDED(symbol)                \
    std::string_view(splice_embedded_##symbol, \
                     static_cast<std::size_t>(splice_embedded_##symbol##_end - splice_embedded_##symbol))
