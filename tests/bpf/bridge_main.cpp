// With --tcx the programs hang by TCX, else by clsact. Ends with 77 (skipped) where it may not make a network
// namespace or load kernel programs.
#define DOCTEST_CONFIG_IMPLEMENT
#include <doctest/doctest.h>

#include <algorithm>
#include <cstdio>
#include <string_view>

#include "libsplice/engine/tcx_link.hpp"
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
    const bool by_tcx =
        std::any_of(argv, argv + argc, [](const char* word) { return word == std::string_view("--tcx"); });
    if (by_tcx && !splice::kernel_has_tcx()) {
        std::puts("skipped: the kernel has no TCX");
        return kSkip;
    }
    splice::testing::BridgeHost::hang_by_tcx(by_tcx);
    return doctest::Context(argc, argv).run();
}
