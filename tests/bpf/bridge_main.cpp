// Ends with 77 (skipped) where it may not make a network namespace or load kernel programs.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <cstdio>

#include "packetbridge/dataplane_ebpf.hpp"
#include "tests/bpf/bridge_host.hpp"

int main(int argc, char** argv) {
    constexpr int kSkip = 77;
    if (!splice::testing::enter_network_namespace()) {
        std::puts("skipped: no network namespace of its own");
        return kSkip;
    }
    if (const auto loaded = splice::try_bridge_programs(splice::Mode::adopt); !loaded) {
        std::printf("skipped: %s\n", loaded.error().text.c_str());
        return kSkip;
    }
    return doctest::Context(argc, argv).run();
}
