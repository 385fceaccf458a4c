// A segment of our own, as what is sent.
#pragma once

#include <span>

#include "libsplice/base/bytes.hpp"
#include "libsplice/datapath/segment.h"

namespace splice {

// They live as long as the segment.
[[nodiscard]] inline Bytes bytes_of(const splice_segment& segment) noexcept {
    return std::as_bytes(std::span(segment.bytes, segment.length));
}

}  // namespace splice
