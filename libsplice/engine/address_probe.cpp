#include "libsplice/engine/address_probe.hpp"

#include <arpa/inet.h>
#include <linux/filter.h>
#include <net/ethernet.h>
#include <net/if_arp.h>
#include <netinet/icmp6.h>
#include <netinet/if_ether.h>
#include <netinet/ip6.h>
#include <netpacket/packet.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <optional>
#include <span>

#include "libsplice/datapath/checksum.h"
#include "libsplice/engine/interface.hpp"
#include "libsplice/engine/link_socket.hpp"

namespace splice {
namespace {

using namespace std::chrono_literals;
using std::chrono::steady_clock;

constexpr int kProbes = 3;
constexpr auto kProbeInterval = 200ms;
constexpr std::size_t kMostRead = 512;  // bytes of a packet: what is looked at comes first

// What a packet says of who has an address, or asks for it as we do.
struct Claim {
    IpAddress address;
    MacAddress mac{};
    bool asks = false;  // it is a probe, too
};

IpAddress ipv4_of(const std::uint8_t* bytes) {
    splice_address address{};
    std::uint32_t raw = 0;
    std::memcpy(&raw, bytes, sizeof(raw));
    splice_address_from_ipv4(&address, raw);
    return IpAddress(address);
}

IpAddress ipv6_of(const in6_addr& bytes) {
    splice_address address{};
    std::memcpy(address.bytes, &bytes, sizeof(address.bytes));
    return IpAddress(address);
}

// Any ARP packet, be it a question or an answer, says who sent it.
std::optional<Claim> read_arp(std::span<const std::uint8_t> packet) {
    ether_arp arp{};
    if (packet.size() < sizeof(arp)) return std::nullopt;
    std::memcpy(&arp, packet.data(), sizeof(arp));
    if (arp.arp_hrd != htons(ARPHRD_ETHER) || arp.arp_pro != htons(ETHERTYPE_IP) || arp.arp_hln != ETH_ALEN ||
        arp.arp_pln != 4)
        return std::nullopt;
    Claim claim{.address = ipv4_of(arp.arp_spa)};
    std::memcpy(claim.mac.data(), arp.arp_sha, ETH_ALEN);
    claim.asks = claim.address.is_unspecified();
    if (claim.asks) claim.address = ipv4_of(arp.arp_tpa);
    return claim;
}

// `from`: of the Ethernet header, for a solicitation of duplicate address detection does not say.
std::optional<Claim> read_neighbour(std::span<const std::uint8_t> packet, const MacAddress& from) {
    ip6_hdr ip{};
    nd_neighbor_advert message{};  // a solicitation is laid out the same
    if (packet.size() < sizeof(ip) + sizeof(message)) return std::nullopt;
    std::memcpy(&ip, packet.data(), sizeof(ip));
    std::memcpy(&message, packet.data() + sizeof(ip), sizeof(message));
    if (ip.ip6_nxt != IPPROTO_ICMPV6 || ip.ip6_hlim != 255) return std::nullopt;
    Claim claim{.address = ipv6_of(message.nd_na_target), .mac = from};
    if (message.nd_na_type == ND_NEIGHBOR_ADVERT) return claim;
    claim.asks = true;
    if (message.nd_na_type != ND_NEIGHBOR_SOLICIT || !ipv6_of(ip.ip6_src).is_unspecified())
        return std::nullopt;
    return claim;
}

// Of a busy link all but neighbour discovery stays in the kernel.
SystemResult<void> want_neighbours_alone(const LinkSocket& link, const std::string& doing) {
    std::array<sock_filter, 7> program{{
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 6),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_ICMPV6, 0, 3),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 40),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ND_NEIGHBOR_ADVERT, 2, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, ND_NEIGHBOR_SOLICIT, 1, 0),
        BPF_STMT(BPF_RET | BPF_K, 0),
        BPF_STMT(BPF_RET | BPF_K, kMostRead),
    }};
    const sock_fprog filter{.len = static_cast<unsigned short>(program.size()), .filter = program.data()};
    if (setsockopt(link.socket.get(), SOL_SOCKET, SO_ATTACH_FILTER, &filter, sizeof(filter)) != 0)
        return system_error(doing, errno);
    return {};
}

// Where a host that asks for this address, too, sends its question (RFC 4291 section 2.7.1).
in6_addr solicited_node(const IpAddress& address) {
    in6_addr group{};
    inet_pton(AF_INET6, "ff02::1:ff00:0", &group);
    std::memcpy(group.s6_addr + 13, address.raw().bytes + 13, 3);
    return group;
}

MacAddress mac_of_group(const in6_addr& group) {
    MacAddress mac{0x33, 0x33};
    std::memcpy(mac.data() + 2, group.s6_addr + 12, 4);
    return mac;
}

class Probe {
  public:
    Probe(LinkSocket link, std::uint32_t interface, std::uint16_t protocol, std::string doing)
        : link_(std::move(link)), interface_(interface), protocol_(protocol), doing_(std::move(doing)) {}

    SystemResult<void> want(const IpAddress& address) {
        wanted_.push_back(address);
        if (protocol_ == ETH_P_ARP) return {};
        packet_mreq group{};
        group.mr_ifindex = static_cast<int>(interface_);
        group.mr_type = PACKET_MR_MULTICAST;
        group.mr_alen = ETH_ALEN;
        const MacAddress mac = mac_of_group(solicited_node(address));
        std::memcpy(group.mr_address, mac.data(), mac.size());
        if (setsockopt(link_.socket.get(), SOL_PACKET, PACKET_ADD_MEMBERSHIP, &group, sizeof(group)) != 0)
            return system_error(doing_, errno);
        return {};
    }

    SystemResult<void> ask() const {
        for (const IpAddress& address : wanted_) {
            auto sent = protocol_ == ETH_P_ARP
                            ? send_arp_request(link_, interface_, std::nullopt, address, doing_)
                            : ask_ipv6(address);
            if (!sent) return sent;
        }
        return {};
    }

    // Takes what has come.
    void listen(std::vector<AddressConflict>& found) {
        std::array<std::uint8_t, kMostRead> packet{};
        sockaddr_ll from{};
        for (;;) {
            socklen_t length = sizeof(from);
            const ssize_t got = recvfrom(link_.socket.get(), packet.data(), packet.size(), MSG_DONTWAIT,
                                         reinterpret_cast<sockaddr*>(&from), &length);
            if (got < 0) return;
            MacAddress sender{};
            std::memcpy(sender.data(), from.sll_addr, sender.size());
            const std::span read(packet.data(), static_cast<std::size_t>(got));
            const auto claim = protocol_ == ETH_P_ARP ? read_arp(read) : read_neighbour(read, sender);
            if (from.sll_pkttype != PACKET_OUTGOING && claim) judge(*claim, found);
        }
    }

    [[nodiscard]] int descriptor() const noexcept { return link_.socket.get(); }
    [[nodiscard]] bool is_done() const noexcept { return wanted_.empty(); }

  private:
    // From the unspecified address, so that nobody learns from it who has the address; the answer goes to all
    // nodes (RFC 4862 section 5.4.2).
    SystemResult<void> ask_ipv6(const IpAddress& address) const {
        struct {
            ip6_hdr ip{};
            nd_neighbor_solicit question{};
        } packet;
        static_assert(sizeof(packet) == 64);
        packet.ip.ip6_flow = htonl(6U << 28);
        packet.ip.ip6_plen = htons(sizeof(packet.question));
        packet.ip.ip6_nxt = IPPROTO_ICMPV6;
        packet.ip.ip6_hlim = 255;
        packet.ip.ip6_dst = solicited_node(address);
        packet.question.nd_ns_type = ND_NEIGHBOR_SOLICIT;
        std::memcpy(&packet.question.nd_ns_target, address.raw().bytes, sizeof(in6_addr));
        splice_sum sum = splice_sum_bytes(0, &packet.ip.ip6_src, 2 * sizeof(in6_addr));
        sum += packet.ip.ip6_plen;
        sum += htons(IPPROTO_ICMPV6);
        sum = splice_sum_bytes(sum, &packet.question, sizeof(packet.question));
        packet.question.nd_ns_cksum = static_cast<std::uint16_t>(~splice_sum_fold(sum));
        return send_on_link(link_, interface_, ETH_P_IPV6, mac_of_group(packet.ip.ip6_dst), &packet,
                            sizeof(packet), doing_);
    }

    void judge(const Claim& claim, std::vector<AddressConflict>& found) {
        if (claim.mac == *link_.own || (claim.asks && claim.mac > *link_.own)) return;
        const auto wanted = std::ranges::find(wanted_, claim.address);
        if (wanted == wanted_.end()) return;
        found.push_back({*wanted, to_string(claim.mac)});
        wanted_.erase(wanted);
    }

    LinkSocket link_;
    std::uint32_t interface_;
    std::uint16_t protocol_;
    std::string doing_;
    std::vector<IpAddress> wanted_;  // of which nothing is known yet
};

SystemResult<void> ask_and_listen(std::vector<Probe>& probes, std::vector<AddressConflict>& found) {
    std::vector<pollfd> waits;
    for (const Probe& probe : probes) waits.push_back({probe.descriptor(), POLLIN, 0});
    for (int round = 0; round < kProbes; ++round) {
        for (const Probe& probe : probes) {
            if (auto asked = probe.ask(); !asked) return asked;
        }
        const auto until = steady_clock::now() + kProbeInterval;
        for (auto now = steady_clock::now(); now < until; now = steady_clock::now()) {
            const auto wait = std::chrono::ceil<std::chrono::milliseconds>(until - now);
            (void)poll(waits.data(), waits.size(), static_cast<int>(wait.count()));
            for (Probe& probe : probes) probe.listen(found);
            if (std::ranges::all_of(probes, &Probe::is_done)) return {};
        }
    }
    return {};
}

}  // namespace

SystemResult<std::vector<AddressConflict>> probe_addresses(const std::string& interface,
                                                           const std::vector<IpAddress>& addresses) {
    std::vector<Probe> probes;
    for (const std::uint16_t protocol : {std::uint16_t{ETH_P_ARP}, std::uint16_t{ETH_P_IPV6}}) {
        const int family = protocol == ETH_P_ARP ? 4 : 6;
        if (std::ranges::none_of(addresses, [&](const IpAddress& each) { return each.family() == family; }))
            continue;
        const std::string doing = "ask on " + interface + " who has the addresses of services";
        const std::uint32_t index = interface_index(interface);
        if (index == 0) return system_error(doing, ENODEV);
        auto link = open_link(index, protocol, doing);
        if (!link) return std::unexpected(link.error());
        if (!link->own) continue;
        if (protocol == ETH_P_IPV6) {
            if (auto filtered = want_neighbours_alone(*link, doing); !filtered)
                return std::unexpected(filtered.error());
        }
        Probe& probe = probes.emplace_back(std::move(*link), index, protocol, doing);
        for (const IpAddress& address : addresses) {
            if (address.family() != family) continue;
            if (auto wanted = probe.want(address); !wanted) return std::unexpected(wanted.error());
        }
    }
    std::vector<AddressConflict> found;
    if (!probes.empty()) {
        if (auto asked = ask_and_listen(probes, found); !asked) return std::unexpected(asked.error());
    }
    return found;
}

}  // namespace splice
