#include "libsplice/engine/loopback_tap.hpp"

#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <net/if.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <cerrno>
#include <cstddef>
#include <cstring>
#include <string_view>

#include "libsplice/datapath/carriage.h"

namespace splice {
namespace {

constexpr int kBatch = 64;
constexpr std::uint32_t kAll = 0x40000;  // bytes of a packet to keep

// From the IP header on (SOCK_DGRAM), in the packet filter's own language. Jumps count the instructions that
// are left out.
std::array<sock_filter, 23> filter_for(std::uint16_t first_port) noexcept {
    constexpr __u8 kIpv4Protocol = 9, kIpv6NextHeader = 6, kIpv6Ports = 40 + 2;
    constexpr __u32 kIpv4Bounce = SPLICE_CARRIAGE_BOUNCE << 2, kIpv6Bounce = SPLICE_CARRIAGE_BOUNCE << 6;
    return {{
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 0),
        BPF_STMT(BPF_ALU | BPF_RSH | BPF_K, 4),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 6, 11, 0),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 4, 0, 18),
        // IPv4: whole or the first fragment.
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, kIpv4Protocol),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_TCP, 0, 16),
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 6),
        BPF_JUMP(BPF_JMP | BPF_JSET | BPF_K, 0x1fff, 14, 0),
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 1),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, kIpv4Bounce),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kIpv4Bounce, 10, 0),
        BPF_STMT(BPF_LDX | BPF_B | BPF_MSH, 0),
        BPF_STMT(BPF_LD | BPF_H | BPF_IND, 2),
        BPF_JUMP(BPF_JMP | BPF_JA, 6, 0, 0),
        // IPv6.
        BPF_STMT(BPF_LD | BPF_B | BPF_ABS, kIpv6NextHeader),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, IPPROTO_TCP, 0, 6),
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, 0),
        BPF_STMT(BPF_ALU | BPF_AND | BPF_K, kIpv6Bounce),
        BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, kIpv6Bounce, 2, 0),
        BPF_STMT(BPF_LD | BPF_H | BPF_ABS, kIpv6Ports),
        BPF_JUMP(BPF_JMP | BPF_JGE | BPF_K, first_port, 0, 1),
        BPF_STMT(BPF_RET | BPF_K, kAll),
        BPF_STMT(BPF_RET | BPF_K, 0),
    }};
}

}  // namespace

SystemResult<std::unique_ptr<LoopbackTap>> LoopbackTap::open(std::uint16_t first_port) {
    constexpr std::string_view kDoing = "open a packet socket on lo";
    // Without a protocol it hears nothing until it is bound, and then only what the filter lets through.
    Descriptor socket(::socket(AF_PACKET, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
    if (!socket)
        return system_error(kDoing, errno, errno == EPERM ? "it needs CAP_NET_RAW: run it as root" : "");
    auto filter = filter_for(first_port);
    const sock_fprog program{static_cast<unsigned short>(filter.size()), filter.data()};
    const int on = 1;
    sockaddr_ll address{};
    address.sll_family = AF_PACKET;
    address.sll_protocol = htons(ETH_P_ALL);
    address.sll_ifindex = static_cast<int>(if_nametoindex("lo"));
    if (setsockopt(socket.get(), SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program)) < 0 ||
        setsockopt(socket.get(), SOL_PACKET, PACKET_IGNORE_OUTGOING, &on, sizeof(on)) < 0 ||
        setsockopt(socket.get(), SOL_PACKET, PACKET_AUXDATA, &on, sizeof(on)) < 0 ||
        bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), sizeof(address)) < 0)
        return system_error(kDoing, errno);
    return std::unique_ptr<LoopbackTap>(new LoopbackTap(std::move(socket)));
}

void LoopbackTap::receive(const Handler& handler, RawSender&) {
    for (int i = 0; i < kBatch; ++i) {
        iovec vector{buffer_.data(), buffer_.size()};
        alignas(cmsghdr) std::array<std::byte, CMSG_SPACE(sizeof(tpacket_auxdata))> control;
        msghdr message{};
        message.msg_iov = &vector;
        message.msg_iovlen = 1;
        message.msg_control = control.data();
        message.msg_controllen = control.size();
        const ssize_t length = recvmsg(socket_.get(), &message, 0);
        if (length < 0) return;
        QueuedPacket packet;
        packet.bytes = MutableBytes(buffer_).first(static_cast<std::size_t>(length));
        for (cmsghdr* at = CMSG_FIRSTHDR(&message); at != nullptr; at = CMSG_NXTHDR(&message, at)) {
            if (at->cmsg_level != SOL_PACKET || at->cmsg_type != PACKET_AUXDATA) continue;
            tpacket_auxdata auxiliary{};
            std::memcpy(&auxiliary, CMSG_DATA(at), sizeof(auxiliary));
            packet.checksum_finished = (auxiliary.tp_status & TP_STATUS_CSUMNOTREADY) == 0;
        }
        (void)handler(packet);
    }
}

}  // namespace splice
