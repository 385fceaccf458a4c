#include "tests/support/lib/machines.hpp"

#include <cmath>
#include <stdexcept>

#include "libsplice/datapath/lane.h"

namespace splice::testing {

const Topology& topology(int family) {
    static const Topology ipv4{
        "192.0.2.1", "198.51.100.10", {"10.0.0.1", "10.0.0.2", "10.0.0.3"}, "10.0.1.1"};
    static const Topology ipv6{"2001:db8::1",
                               "2001:db8:1::10",
                               {"2001:db8:2::1", "2001:db8:2::2", "2001:db8:2::3"},
                               "2001:db8:3::1"};
    return family == 4 ? ipv4 : ipv6;
}

std::shared_ptr<const Placement> placement_of(const std::vector<std::uint16_t>& numbers,
                                              Algorithm algorithm) {
    std::vector<PlacementMember> members;
    for (const std::uint16_t number : numbers) {
        const std::string name = "b" + std::to_string(number + 1);
        members.push_back({name, name + ":80", 1, number});
    }
    auto built = Placement::build(algorithm, members, 4096);
    if (!built) throw std::runtime_error(built.error());
    return std::make_shared<const Placement>(std::move(*built));
}

std::shared_ptr<const Placement> placement_over(std::size_t bridges, Algorithm algorithm) {
    std::vector<std::uint16_t> numbers;
    for (std::size_t i = 0; i < bridges; ++i) numbers.push_back(static_cast<std::uint16_t>(i));
    return placement_of(numbers, algorithm);
}

SplicerSetup splicer_setup(int family) {
    const Topology& hosts = topology(family);
    SplicerSetup setup;
    setup.secret = kSecret;
    setup.timeouts = {900, 60, 300};
    for (std::size_t i = 0; i < hosts.bridges.size(); ++i)
        setup.bridges.push_back({"b" + std::to_string(i + 1), *IpAddress::parse(hosts.bridges[i])});
    SplicerService service;
    service.name = "cdn";
    service.vip = {*IpAddress::parse(hosts.vip), 80};
    service.placement = placement_over(setup.bridges.size());
    for (std::size_t i = 0; i < setup.bridges.size(); ++i)
        service.bridges.push_back(static_cast<std::uint16_t>(i));
    setup.services.push_back(service);
    return setup;
}

std::uint32_t lane_hash_of(const Segment& segment) {
    const Parsed parsed = parse(segment.build());
    return splice_lane_hash(&kSecret.lane, splice_flow_toward_server(&parsed.packet));
}

SplicerSetup laned_setup(int family) {
    SplicerSetup setup = splicer_setup(family);
    for (std::size_t i = 0; i < setup.bridges.size(); ++i)
        setup.bridges[i].number = static_cast<std::uint16_t>(i + 1);
    setup.services[0].keyed_clock = setup.services[0].lanes = true;
    return setup;
}

JoinerSetup joiner_setup(int family) {
    const Topology& hosts = topology(family);
    JoinerSetup setup;
    setup.secret = kSecret;
    setup.timeouts = {900, 60, 300};
    setup.addresses = {*IpAddress::parse(hosts.bridges[0])};
    setup.services.push_back(
        {.vip = {*IpAddress::parse(hosts.vip), 80}, .backend = {*IpAddress::parse(hosts.backend), 8080}});
    return setup;
}

Instant at(double seconds) {
    const double since_boot = 1000.0 + seconds;
    return {Duration(static_cast<std::int64_t>(std::llround(since_boot * 1e9))),
            1'700'000'000 + static_cast<std::int64_t>(std::floor(seconds))};
}

Client::Client(int family, std::uint16_t port) {
    base.source = topology(family).client;
    base.destination = topology(family).vip;
    base.source_port = port;
    base.seq = 0xfffffff0;  // the stream crosses the wrap
    base.timestamps = Timestamps{777'000, 0};
}

Verdict Client::connect(Splicer& splicer, Instant now) {
    Segment syn = base;
    syn.flags = SPLICE_SYN;
    syn.mss = 1460;
    syn.sack_permitted = true;
    syn.window_scale = 8;
    SentPackets out;
    PacketBytes bytes = syn.build();
    const Verdict verdict = splicer.handle_packet(now, bytes, true, out);
    if (!out.sent.empty()) {
        const Parsed answer = parse(out.sent.front());
        cookie = answer.packet.seq;
        server_tsval = answer.options.tsval;
    }
    return verdict;
}

Segment Client::segment(std::string payload, std::uint32_t offset, std::uint8_t flags) const {
    Segment segment = base;
    segment.seq = base.seq + 1 + offset;
    segment.ack = cookie + 1;
    segment.flags = flags;
    segment.payload = std::move(payload);
    if (segment.timestamps) segment.timestamps = Timestamps{777'010, server_tsval};
    return segment;
}

}  // namespace splice::testing
