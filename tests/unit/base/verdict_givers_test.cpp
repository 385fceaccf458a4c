#include "libsplice/base/verdict_givers.hpp"

#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>
#include <string>
#include <vector>

namespace splice {
namespace {

// Of files below the source's root whose paths begin so: the words in them that begin with SPLICE_.
std::set<std::string> words_in(const std::vector<std::string>& beginnings) {
    const std::filesystem::path root = SPLICELB_SOURCE_DIR;
    std::set<std::string> words;
    for (const char* top :
         {"libsplice/bpf", "libsplice/core", "libsplice/datapath", "balancer", "packetbridge"}) {
        for (const auto& entry : std::filesystem::recursive_directory_iterator(root / top)) {
            const std::string path = std::filesystem::relative(entry.path(), root).string();
            bool wanted = false;
            for (const std::string& beginning : beginnings) wanted |= path.starts_with(beginning);
            if (!wanted || !entry.is_regular_file()) continue;
            std::ifstream file(entry.path());
            const std::string text{std::istreambuf_iterator<char>(file), {}};
            for (std::size_t at = text.find("SPLICE_"); at != std::string::npos;
                 at = text.find("SPLICE_", at + 1))
                words.insert(text.substr(
                    at, text.find_first_not_of("abcdefghijklmnopqrstuvwxyz0123456789_", at + 7) - at));
        }
    }
    return words;
}

TEST_CASE("an executable can give the verdicts that its sources name, and no other") {
    // What both are built from: judging a packet by its bytes, carrying it, translating it.
    const std::vector<std::string> shared = {"libsplice/datapath/parse", "libsplice/datapath/carriage",
                                             "libsplice/datapath/translate"};
    std::vector<std::string> balancer = {"libsplice/bpf/balancer", "libsplice/core/splicer",
                                         "libsplice/core/health_checks", "libsplice/datapath/balancer_rules",
                                         "balancer/dataplane"};
    std::vector<std::string> bridge = {"libsplice/bpf/bridge", "libsplice/core/joiner",
                                       "libsplice/datapath/bridge_rules", "packetbridge/dataplane"};
    balancer.insert(balancer.end(), shared.begin(), shared.end());
    bridge.insert(bridge.end(), shared.begin(), shared.end());
    const auto of_balancer = words_in(balancer);
    const auto of_bridge = words_in(bridge);
    for (std::size_t i = 0; i < kVerdictCount; ++i) {
        const auto verdict = static_cast<Verdict>(i);
        const std::string name = "SPLICE_" + std::string(verdict_name(verdict));
        CAPTURE(name);
        CHECK(can_give(Program::balancer, verdict) == of_balancer.contains(name));
        CHECK(can_give(Program::bridge, verdict) == of_bridge.contains(name));
    }
}

}  // namespace
}  // namespace splice
