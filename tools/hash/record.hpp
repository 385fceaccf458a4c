// One request, as a log tells it.
#pragma once

#include "libsplice/core/told_request.hpp"

namespace splice::hash {

using Record = ToldRequest;

}  // namespace splice::hash
