// Pins what an executable has kept as an earlier build would have: the maps in the layout before, filled with
// the same flows, and the pins under its names. What runs in the kernel goes on; the next start finds another
// build's path.
//
//   earlier-layout balancer FOLDER    FOLDER/flows, bridges, link; beside it, the folder of layout 3
//   earlier-layout bridge FOLDER      FOLDER/flows-3, services-3, which become flows-2
#include <bpf/bpf.h>
#include <unistd.h>

#include <cstdio>
#include <cstring>
#include <filesystem>
#include <stdexcept>
#include <string>

#include "libsplice/bpf/balancer_maps.h"
#include "libsplice/bpf/bridge_maps.h"
#include "libsplice/engine/bpf_batches.hpp"
#include "libsplice/engine/descriptor.hpp"
#include "libsplice/engine/kernel_program.hpp"
#include "tests/support/earlier_layout/layouts.hpp"

namespace splice::testing {
namespace {

void require(bool holds, const std::string& what) {
    if (!holds) throw std::runtime_error(what + ": " + std::strerror(errno));
}

Descriptor pinned(const std::string& path) {
    Descriptor object(bpf_obj_get(path.c_str()));
    require(static_cast<bool>(object), "open " + path);
    return object;
}

void pin(int object, const std::string& path) {
    require(bpf_obj_pin(object, path.c_str()) == 0, "pin " + path);
}

Descriptor make_flows(std::uint32_t value_size, std::uint32_t capacity) {
    Descriptor map(
        bpf_map_create(BPF_MAP_TYPE_HASH, "flows", sizeof(splice_flow_key), value_size, capacity, nullptr));
    require(static_cast<bool>(map), "make a map");
    return map;
}

template <class Now, class Then, class Convert>
std::size_t rewrite(int now, int then, Convert convert) {
    std::size_t count = 0;
    for_each_bpf_entry<splice_flow_key, Now>(now, [&](const splice_flow_key& key, const Now& flow) {
        const Then earlier = convert(flow);
        require(bpf_map_update_elem(then, &key, &earlier, BPF_NOEXIST) == 0, "write a flow");
        ++count;
    });
    return count;
}

std::size_t give_back_balancer(const std::string& folder) {
    const std::string now = "-" + std::to_string(SPLICE_BALANCER_LAYOUT);
    if (!folder.ends_with(now)) throw std::runtime_error(folder + " is not of the layout of today");
    const std::string then = folder.substr(0, folder.size() - now.size()) + "-3";
    const Descriptor flows = pinned(folder + "/flows");
    const Descriptor earlier = make_flows(sizeof(Flow3), capacity_of_map(flows.get()));
    const std::size_t count =
        rewrite<splice_flow_entry, Flow3>(flows.get(), earlier.get(), [](const splice_flow_entry& flow) {
            Flow3 was;
            was.last_seen_s = flow.last_seen_s;
            was.row = flow.row;
            was.cookie_high = flow.cookie_high;
            was.bridge = flow.bridge;
            was.dscp = splice_carriage_dscp(flow.carriage);
            was.flags = flow.flags;
            was.state = flow.state & 15;
            was.tries = flow.tries & 15;
            was.first_ack = flow.first_ack;
            was.cookie = flow.cookie;
            return was;
        });
    std::filesystem::create_directory(then);
    std::filesystem::permissions(then, std::filesystem::perms::owner_all);
    pin(earlier.get(), then + "/flows");
    pin(pinned(folder + "/bridges").get(),
        then + "/bridges");  // as it was, but for a number in the place of a zero
    pin(pinned(folder + "/link").get(), then + "/link");
    std::filesystem::remove_all(folder);
    return count;
}

std::size_t give_back_bridge(const std::string& folder) {
    const std::string now = "-" + std::to_string(SPLICE_BRIDGE_LAYOUT);
    const Descriptor flows = pinned(folder + "/flows" + now);
    const Descriptor services = pinned(folder + "/services" + now);
    const Descriptor earlier = make_flows(sizeof(BridgeFlow2), capacity_of_map(flows.get()));
    const std::size_t count = rewrite<splice_bridge_flow, BridgeFlow2>(
        flows.get(), earlier.get(), [&](const splice_bridge_flow& flow) {
            splice_bridge_service_entry service{};
            const std::uint32_t number = flow.service;
            require(bpf_map_lookup_elem(services.get(), &number, &service) == 0, "find a flow's service");
            BridgeFlow2 was;
            std::memcpy(was.translation.vip, &flow.translation.vip, 16);
            std::memcpy(was.translation.backend, &flow.translation.backend, 16);
            was.translation.vip_port = flow.translation.vip_port;
            was.translation.backend_port = flow.translation.backend_port;
            was.translation.seq_shift = flow.translation.seq_shift;
            was.translation.ts_shift = flow.translation.ts_shift;
            was.translation.advertised_window_scale = flow.translation.advertised_window_scale;
            was.translation.backend_window_scale = flow.translation.backend_window_scale;
            was.client_isn = flow.client_isn;
            was.cookie_isn = flow.cookie_isn;
            was.client_next = flow.client_next;
            was.client_tsval = flow.client_tsval;
            was.last_seen_s = flow.last_seen_s;
            was.client_window = flow.client_window;
            was.state = flow.state;
            was.flags = flow.flags;
            was.dscp = splice_carriage_dscp(service.carriage);
            was.timestamps = flow.timestamps;
            was.client_ack = flow.client_ack;
            was.server_next = flow.server_next;
            was.client_una = flow.client_una;
            return was;
        });
    for (const char* map : {"/flows", "/services", "/counters"}) std::filesystem::remove(folder + map + now);
    pin(earlier.get(), folder + "/flows-2");
    return count;
}

}  // namespace
}  // namespace splice::testing

int main(int argc, char** argv) {
    using namespace splice::testing;
    const std::string what = argc == 3 ? argv[1] : "";
    if (what != "balancer" && what != "bridge") {
        std::fputs("usage: earlier-layout balancer|bridge FOLDER\n", stderr);
        return 2;
    }
    try {
        const std::size_t flows =
            what == "balancer" ? give_back_balancer(argv[2]) : give_back_bridge(argv[2]);
        std::printf("%zu\n", flows);
    } catch (const std::exception& error) {
        std::fprintf(stderr, "earlier-layout: %s\n", error.what());
        return 1;
    }
    return 0;
}
