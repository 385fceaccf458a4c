// The kernel program's table of services.
#pragma once

#include <span>

#include "libsplice/base/address.hpp"
#include "libsplice/bpf/balancer_maps.h"

namespace splice {

struct ServiceTableRow {
    Endpoint vip;
    splice_service_entry entry{};
};

// Into memory that the program does not look at. At most SPLICE_MAX_SERVICES rows, each endpoint once.
void write_service_table(std::span<const ServiceTableRow> rows, splice_service_table& table) noexcept;

}  // namespace splice
