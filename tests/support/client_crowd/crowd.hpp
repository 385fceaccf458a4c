// Clients by the hundred thousand, in the network namespace of the segment: they make connections with a
// balancer by real packets on its wire, and remember nothing but a few words each. crowd.bpf.c is what speaks
// and hears.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "libsplice/base/address.hpp"
#include "libsplice/engine/bpf_object.hpp"
#include "libsplice/engine/next_hop.hpp"
#include "libsplice/engine/xdp_link.hpp"
#include "tests/support/client_crowd/crowd.h"

namespace splice::crowd {

struct Place {
    InterfaceInfo interface;   // a veth whose peer is the balancer's uplink
    EthernetAddress balancer;  // that uplink's
    Endpoint service;
    std::uint8_t dscp = 0;
    std::uint32_t clients = 1;    // that remember their answers: numbers below this
    std::uint32_t hosts = 65536;  // addresses that they have
};

struct Count {
    std::uint64_t sent = 0, answered = 0, forwarded = 0, strayed = 0;
    std::uint32_t clients = 0;  // those that have their answer
    double seconds = 0;
};

class Crowd {
  public:
    // Errors: the kernel refuses the programs; the interface has another XDP program.
    static SystemResult<Crowd> enter(const Place& place);

    // SYNs at a rate a second until `ends`, which is asked again and again and sleeps a while. Their answers
    // are counted and forgotten.
    Count flood(std::uint32_t rate, const std::function<bool()>& ends);
    // One step of `count` clients from number `first` on. Who gets no answer says it again, `kTries` times.
    Count take_step(crowd_step step, std::uint32_t first, std::uint32_t count);
    // The addresses' last words of the bridges that clients were forwarded to.
    [[nodiscard]] std::vector<std::uint32_t> bridges() const;

  private:
    Crowd(Place place, BpfObject object, XdpLink link, MappedBpfArray settings,
          MappedBpfArray clients) noexcept;
    void prepare(crowd_step step, std::uint32_t first, std::uint32_t count);
    void speak(std::uint32_t times);
    [[nodiscard]] std::uint32_t answered_clients() const;
    [[nodiscard]] Count counted() const;

    Place place_;
    BpfObject object_;
    XdpLink link_;
    MappedBpfArray settings_memory_, clients_memory_;
    crowd_settings* settings_;
    const crowd_client* clients_;
};

}  // namespace splice::crowd
