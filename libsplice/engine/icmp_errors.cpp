#include "libsplice/engine/icmp_errors.hpp"

#include <linux/filter.h>
#include <netinet/icmp6.h>
#include <netinet/in.h>
#include <netinet/ip6.h>
#include <netinet/ip_icmp.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <span>
#include <string_view>

namespace splice {
namespace {

constexpr int kBatch = 64;
constexpr int kIcmpFilter = 1;  // of linux/icmp.h, which does not go together with netinet/in.h
constexpr std::string_view kDoing = "open a raw socket for ICMP errors";
constexpr std::uint32_t kAll = 0x40000;  // bytes of a packet to keep
constexpr __u32 kQuote = 8;              // where a message has the packet that it is about
constexpr std::size_t kIpv6Header = sizeof(ip6_hdr);

// From the IP header on, in the packet filter's own language. Jumps count the instructions that are left out.
std::array<sock_filter, 7> filter_of_ipv4(std::uint16_t first_port) noexcept {
    constexpr __u32 kHeader = 20, kProtocol = 9;
    return {{
        BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0),
        BPF_STMT(BPF_LD | BPF_B | BPF_IND, kQuote + kProtocol),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_TCP, 0, 3),
        BPF_STMT(BPF_LD | BPF_H | BPF_IND, kQuote + kHeader),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, first_port, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, kAll),
        BPF_STMT(BPF_RET | BPF_K, 0),
    }};
}

// From the ICMPv6 header on.
std::array<sock_filter, 6> filter_of_ipv6(std::uint16_t first_port) noexcept {
    constexpr __u32 kNextHeader = 6;
    return {{
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, kQuote + kNextHeader),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_TCP, 0, 3),
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, kQuote + static_cast<__u32>(kIpv6Header)),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, first_port, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, kAll),
        BPF_STMT(BPF_RET | BPF_K, 0),
    }};
}

bool attach(const Descriptor& socket, std::span<sock_filter> filter) noexcept {
    const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
    return setsockopt(socket.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) == 0;
}

bool hear_ipv4(const Descriptor& socket, std::uint16_t first_port) noexcept {
    auto filter = filter_of_ipv4(first_port);
    const std::uint32_t types =
        ~(1U << ICMP_DEST_UNREACH | 1U << ICMP_TIME_EXCEEDED);  // a bit set: not heard
    return attach(socket, filter) &&
           setsockopt(socket.get(), SOL_RAW, kIcmpFilter, &types, sizeof(types)) == 0;
}

bool hear_ipv6(const Descriptor& socket, std::uint16_t first_port) noexcept {
    auto filter = filter_of_ipv6(first_port);
    const int on = 1;
    icmp6_filter types{};
    ICMP6_FILTER_SETBLOCKALL(&types);
    for (const int type : {ICMP6_DST_UNREACH, ICMP6_PACKET_TOO_BIG, ICMP6_TIME_EXCEEDED})
        ICMP6_FILTER_SETPASS(type, &types);
    return attach(socket, filter) &&
           setsockopt(socket.get(), IPPROTO_ICMPV6, ICMP6_FILTER, &types, sizeof(types)) == 0 &&
           setsockopt(socket.get(), IPPROTO_IPV6, IPV6_RECVPKTINFO, &on, sizeof(on)) == 0;
}

// The header that the kernel keeps to itself.
ip6_hdr header_of(const msghdr& message, const sockaddr_in6& from, std::size_t length) noexcept {
    ip6_hdr header{};
    header.ip6_flow = htonl(6U << 28);
    header.ip6_plen = htons(static_cast<std::uint16_t>(length));
    header.ip6_nxt = IPPROTO_ICMPV6;
    header.ip6_hlim = 64;
    header.ip6_src = from.sin6_addr;
    for (const cmsghdr* at = CMSG_FIRSTHDR(&message); at != nullptr;
         at = CMSG_NXTHDR(const_cast<msghdr*>(&message), const_cast<cmsghdr*>(at))) {
        if (at->cmsg_level != IPPROTO_IPV6 || at->cmsg_type != IPV6_PKTINFO) continue;
        in6_pktinfo info{};
        std::memcpy(&info, CMSG_DATA(at), sizeof(info));
        header.ip6_dst = info.ipi6_addr;
    }
    return header;
}

}  // namespace

SystemResult<std::unique_ptr<IcmpErrors>> IcmpErrors::open(int family, std::uint16_t first_port) {
    Descriptor socket(::socket(family == 4 ? AF_INET : AF_INET6, SOCK_RAW | SOCK_CLOEXEC | SOCK_NONBLOCK,
                               family == 4 ? int{IPPROTO_ICMP} : int{IPPROTO_ICMPV6}));
    if (!socket && errno == EAFNOSUPPORT) return nullptr;
    if (!socket)
        return system_error(kDoing, errno, errno == EPERM ? "it needs CAP_NET_RAW: run it as root" : "");
    if (!(family == 4 ? hear_ipv4(socket, first_port) : hear_ipv6(socket, first_port)))
        return system_error(kDoing, errno);
    return std::unique_ptr<IcmpErrors>(new IcmpErrors(std::move(socket), family));
}

void IcmpErrors::receive(const Handler& handler, RawSender&) {
    const std::size_t room = family_ == 4 ? 0 : kIpv6Header;
    for (int i = 0; i < kBatch; ++i) {
        iovec vector{buffer_.data() + room, buffer_.size() - room};
        alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(in6_pktinfo))> control;
        sockaddr_in6 from{};
        msghdr message{};
        message.msg_name = &from;
        message.msg_namelen = sizeof(from);
        message.msg_iov = &vector;
        message.msg_iovlen = 1;
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        const ssize_t length = recvmsg(socket_.get(), &message, 0);
        if (length < 0) return;
        if (family_ == 6) {
            const ip6_hdr header = header_of(message, from, static_cast<std::size_t>(length));
            std::memcpy(buffer_.data(), &header, sizeof(header));
        }
        QueuedPacket packet;
        packet.bytes = MutableBytes(buffer_).first(room + static_cast<std::size_t>(length));
        (void)handler(packet);
    }
}

SystemResult<void> add_icmp_errors(std::vector<std::unique_ptr<PacketSource>>& sources,
                                   std::uint16_t first_port) {
    for (const int family : {4, 6}) {
        auto errors = IcmpErrors::open(family, first_port);
        if (!errors) return std::unexpected(errors.error());
        if (*errors) sources.push_back(std::move(*errors));
    }
    return {};
}

}  // namespace splice
