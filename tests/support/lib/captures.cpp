#include "tests/support/lib/captures.hpp"

#include <algorithm>

namespace splice::testing {

std::vector<std::filesystem::path> recorded_captures() {
    std::vector<std::filesystem::path> found;
    for (const auto& file : std::filesystem::directory_iterator(SPLICELB_CAPTURES))
        if (file.path().extension() == ".pcap") found.push_back(file.path());
    std::ranges::sort(found);
    return found;
}

}  // namespace splice::testing
