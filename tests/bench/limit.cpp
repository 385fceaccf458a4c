// bench_limit INTERFACE VIP NEXT_HOP_MAC: attaches the program of limit.bpf.c in native mode until SIGTERM.
#include <arpa/inet.h>
#include <net/ethernet.h>
#include <netinet/ether.h>
#include <unistd.h>

#include <csignal>
#include <cstdio>
#include <cstring>

#include "libsplice/engine/bpf_object.hpp"
#include "libsplice/engine/interface.hpp"
#include "libsplice/engine/next_hop.hpp"
#include "libsplice/engine/xdp_link.hpp"
#include "limit.skel.h"

namespace {

int fail(const std::string& why) {
    std::fprintf(stderr, "bench_limit: %s\n", why.c_str());
    return 1;
}

// The program's globals, as it lays them out.
struct Globals {
    std::uint32_t vip = 0;
    std::uint8_t addresses[12] = {};
};

}  // namespace

int main(int argc, char** argv) {
    if (argc != 4) return fail("usage: bench_limit INTERFACE VIP NEXT_HOP_MAC");
    const auto interface = splice::find_interface(argv[1]);
    if (!interface) return fail(interface.error().text);
    Globals globals;
    const ether_addr* next_hop = ether_aton(argv[3]);
    if (inet_pton(AF_INET, argv[2], &globals.vip) != 1 || !next_hop) return fail("wrong address");
    const auto own = splice::ethernet_address_of(interface->index);
    if (!own) return fail(own.error().text);
    std::memcpy(globals.addresses, next_hop, 6);
    std::memcpy(globals.addresses + 6, own->data(), 6);

    std::size_t size = 0;
    const void* bytes = limit::elf_bytes(&size);
    auto object = splice::BpfObject::open("limit", {static_cast<const std::byte*>(bytes), size});
    if (!object) return fail(object.error().text);
    if (auto loaded = object->load(); !loaded) return fail(loaded.error().text);
    auto memory = splice::MappedBpfArray::map(object->map(".bss"), sizeof(Globals));
    if (!memory) return fail(memory.error().text);
    std::memcpy(memory->data(), &globals, sizeof(globals));

    sigset_t stop;
    sigemptyset(&stop);
    sigaddset(&stop, SIGTERM);
    sigaddset(&stop, SIGINT);
    sigprocmask(SIG_BLOCK, &stop, nullptr);
    const auto link = splice::XdpLink::attach(object->program("limit"), *interface, splice::XdpMode::native);
    if (!link) return fail(link.error().text);
    std::puts("ready");
    std::fflush(stdout);
    int signal = 0;
    sigwait(&stop, &signal);
    return 0;
}
