// The captures that the lab recorded, for all who replay them.
#pragma once

#include <filesystem>
#include <vector>

namespace splice::testing {

// Of tests/replay/captures, sorted by name.
[[nodiscard]] std::vector<std::filesystem::path> recorded_captures();

}  // namespace splice::testing
