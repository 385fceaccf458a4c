// simulation [--from K] [--seeds N] [--seed K] [-v]: N seeds from K (1) on, or seed K alone.
#include <fmt/format.h>

#include <charconv>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <string_view>

#include "tests/simulation/world.hpp"

namespace {

using splice::simulation::Result;

[[noreturn]] void usage(std::string_view wrong) {
    fmt::print(stderr, "simulation: {}; usage: simulation [--from K] [--seeds N] [--seed K] [-v]\n", wrong);
    std::exit(2);
}

std::uint64_t number(std::string_view text) {
    std::uint64_t value = 0;
    const auto [end, error] = std::from_chars(text.data(), text.data() + text.size(), value);
    if (error != std::errc{} || end != text.data() + text.size()) usage("a number is expected");
    return value;
}

void add(Result& all, const Result& one) {
    all.packets += one.packets;
    all.finished += one.finished;
    all.refused += one.refused;
    all.aborted += one.aborted;
    all.excused += one.excused;
}

}  // namespace

int main(int argc, char** argv) {
    std::uint64_t first = 1, seeds = 1000;
    bool verbose = false;
    for (int i = 1; i < argc; ++i) {
        const std::string_view flag = argv[i];
        if (flag == "-v") {
            verbose = true;
        } else if (flag == "--seeds" && i + 1 < argc) {
            seeds = number(argv[++i]);
        } else if ((flag == "--from" || flag == "--seed") && i + 1 < argc) {
            first = number(argv[++i]);
            if (flag == "--seed") seeds = 1;
        } else {
            usage(fmt::format("{} is not understood", flag));
        }
    }

    const auto begun = std::chrono::steady_clock::now();
    Result all;
    std::uint64_t failed = 0;
    for (std::uint64_t seed = first; seed - first < seeds; ++seed) {
        const Result one = splice::simulation::simulate(seed, verbose);
        add(all, one);
        if (one.failure.empty()) continue;
        ++failed;
        fmt::print("seed {}: {}\n  repeat: {} --seed {} -v\n", seed, one.failure, argv[0], seed);
        std::fflush(stdout);  // who ends a long run keeps what it has found
    }
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begun).count();
    fmt::print(
        "{} seeds in {:.1f} s ({:.0f}/s), {} packets; conversations: {} finished, {} aborted, {} refused by "
        "every backend, {} broken off for a known reason; {} seeds failed\n",
        seeds, seconds, static_cast<double>(seeds) / seconds, all.packets, all.finished, all.aborted,
        all.refused, all.excused, failed);
    // A simulation whose conversations mostly fail would excuse everything.
    if (seeds >= 100 && all.finished < 10 * all.excused) {
        fmt::print("too few conversations finished for the invariants to mean anything\n");
        return 1;
    }
    return failed ? 1 : 0;
}
