// Every fuzzer over its seeds, without libFuzzer: what a fuzzer once found stays found, with any compiler.
#define DOCTEST_CONFIG_IMPLEMENT_WITH_MAIN
#include <doctest/doctest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <vector>

#include "tests/fuzz/support/fuzzer.hpp"

namespace {

std::vector<std::filesystem::path> seeds_of(const std::string& fuzzer) {
    std::vector<std::filesystem::path> files;
    for (const auto& entry :
         std::filesystem::directory_iterator(std::filesystem::path(SPLICELB_CORPUS) / fuzzer))
        files.push_back(entry.path());
    std::ranges::sort(files);
    return files;
}

}  // namespace

TEST_CASE("every fuzzer holds over its seeds, and over each of them cut short") {
    REQUIRE(splice::fuzz::registered().size() == SPLICELB_FUZZERS);
    for (const auto& [name, run] : splice::fuzz::registered()) {
        SUBCASE(name.c_str()) {
            const auto seeds = seeds_of(name);
            CHECK_FALSE(seeds.empty());
            for (const auto& seed : seeds) {
                INFO(seed.string());
                std::ifstream file(seed, std::ios::binary);
                const std::string bytes(std::istreambuf_iterator<char>(file), {});
                REQUIRE(file);
                for (const std::size_t cut : {0UZ, 1UZ, bytes.size() / 2, bytes.size()}) {
                    const splice::fuzz::ExactCopy exact(
                        splice::as_bytes(bytes).first(bytes.size() - std::min(cut, bytes.size())));
                    run(exact.bytes());
                }
            }
        }
    }
}
