// A capture file through a replay, whole.
#pragma once

#include <string>
#include <vector>

#include "libsplice/base/system_error.hpp"
#include "tools/replay/arrival.hpp"
#include "tools/replay/fleet.hpp"
#include "tools/replay/observer.hpp"

namespace splice::replay {

// --any-vip's services of a capture, or of what stands in it before it is damaged. Reads it once.
Fleets survey_capture(const std::string& path, Checksums checksums = Checksums::judged);

// Reads the capture from its beginning and tells `observers`. After an error they know what stands before it.
SystemResult<void> replay_capture(const std::string& path, Fleets& fleets, std::vector<Observer*> observers,
                                  Checksums checksums = Checksums::judged);

}  // namespace splice::replay
