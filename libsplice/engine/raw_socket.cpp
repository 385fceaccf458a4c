#include "libsplice/engine/raw_socket.hpp"

#include <linux/filter.h>
#include <linux/if_ether.h>
#include <linux/if_packet.h>
#include <netinet/in.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstring>
#include <vector>

#include "libsplice/engine/descriptor.hpp"

namespace splice {
namespace {

constexpr std::size_t kBatch = 128;
// Packets of a batch; at least the largest packet.
constexpr std::size_t kArenaBytes = 256UZ * 1024;
// Packets on their way to a card; beyond it they are refused, as a full card's queue would.
constexpr int kSendBuffer = 16 * 1024 * 1024;

constexpr std::size_t kIpv4Header = 20;
constexpr std::size_t kIpv6Header = 40;

unsigned ip_version(Bytes packet) noexcept {
    return packet.empty() ? 0 : std::to_integer<unsigned>(packet[0]) >> 4;
}

void add(std::atomic<std::uint64_t>& counter, std::uint64_t amount) noexcept {
    counter.store(counter.load(std::memory_order_relaxed) + amount, std::memory_order_relaxed);
}

// One socket and the packets that wait for it, addressed.
class Lane {
  public:
    void adopt(Descriptor socket) noexcept { socket_ = std::move(socket); }
    [[nodiscard]] bool full() const noexcept { return count_ == kBatch; }

    // `packet` stays where it is until flush(). `Address` is a sockaddr_in, _in6 or _ll.
    template <class Address>
    void add_packet(Bytes packet, const Address& address) noexcept {
        static_assert(sizeof(Address) <= sizeof(sockaddr_in6));
        std::memcpy(&addresses_[count_], &address, sizeof(address));
        // sendmmsg() only reads it; its type is shared with the receiving call.
        vectors_[count_] = {const_cast<std::byte*>(packet.data()), packet.size()};
        msghdr& header = messages_[count_].msg_hdr;
        header.msg_name = &addresses_[count_];
        header.msg_namelen = sizeof(address);
        header.msg_iov = &vectors_[count_];
        header.msg_iovlen = 1;
        count_++;
    }

    void flush(RawSenderCounters& counters) noexcept {
        std::size_t next = 0;
        while (next < count_) {
            const int sent =
                sendmmsg(socket_.get(), &messages_[next], static_cast<unsigned>(count_ - next), MSG_DONTWAIT);
            if (sent < 0 && errno == EINTR) continue;
            if (sent > 0) {
                count_sent(counters, next, static_cast<std::size_t>(sent));
                next += static_cast<std::size_t>(sent);
                continue;
            }
            // The call stops at the first refused packet and says why only when that is the first: go on
            // behind it.
            splice::add(errno == EMSGSIZE ? counters.too_big : counters.failures, 1);
            next++;
        }
        count_ = 0;
    }

  private:
    void count_sent(RawSenderCounters& counters, std::size_t first, std::size_t number) noexcept {
        std::uint64_t bytes = 0;
        for (std::size_t i = first; i < first + number; i++) bytes += vectors_[i].iov_len;
        splice::add(counters.packets, number);
        splice::add(counters.bytes, bytes);
    }

    Descriptor socket_;
    std::size_t count_ = 0;
    std::array<mmsghdr, kBatch> messages_{};
    std::array<iovec, kBatch> vectors_{};
    std::array<sockaddr_in6, kBatch> addresses_{};
};

sockaddr_in ipv4_destination(Bytes packet) noexcept {
    sockaddr_in to{};
    to.sin_family = AF_INET;
    std::memcpy(&to.sin_addr, packet.data() + 16, sizeof(to.sin_addr));
    return to;
}

sockaddr_in6 ipv6_destination(Bytes packet) noexcept {
    sockaddr_in6 to{};
    to.sin6_family = AF_INET6;  // the port must be 0: to a raw socket it names a protocol
    std::memcpy(&to.sin6_addr, packet.data() + 24, sizeof(to.sin6_addr));
    return to;
}

sockaddr_ll hop_destination(const Hop& hop, unsigned version) noexcept {
    sockaddr_ll to{};
    to.sll_family = AF_PACKET;
    to.sll_protocol = htons(version == 4 ? ETH_P_IP : ETH_P_IPV6);
    to.sll_ifindex = static_cast<int>(hop.interface);
    to.sll_halen = hop.address_length;
    std::memcpy(to.sll_addr, hop.address, sizeof(to.sll_addr));
    return to;
}

// A socket of IP protocol 255 gets copies of that protocol's packets, which nobody reads: take none.
void refuse_input(int socket) noexcept {
    sock_filter nothing[] = {{BPF_RET | BPF_K, 0, 0, 0}};
    const sock_fprog program{1, nothing};
    setsockopt(socket, SOL_SOCKET, SO_ATTACH_FILTER, &program, sizeof(program));
}

SystemResult<Descriptor> open_socket(int family, int type, int protocol, std::uint32_t mark,
                                     std::string_view doing) {
    Descriptor socket(::socket(family, type | SOCK_CLOEXEC | SOCK_NONBLOCK, protocol));
    if (!socket) {
        return system_error(doing, errno, errno == EPERM ? "it needs CAP_NET_RAW: run it as root" : "");
    }
    refuse_input(socket.get());
    if (setsockopt(socket.get(), SOL_SOCKET, SO_SNDBUFFORCE, &kSendBuffer, sizeof(kSendBuffer)) < 0)
        setsockopt(socket.get(), SOL_SOCKET, SO_SNDBUF, &kSendBuffer, sizeof(kSendBuffer));
    if (mark != 0 && setsockopt(socket.get(), SOL_SOCKET, SO_MARK, &mark, sizeof(mark)) < 0)
        return system_error(std::string(doing) + ": set its mark", errno, "it needs CAP_NET_ADMIN");
    return socket;
}

}  // namespace

struct RawSender::Impl {
    std::vector<std::byte> arena = std::vector<std::byte>(kArenaBytes);
    std::size_t used = 0;
    Lane ipv4;
    Lane ipv6;
    Lane hops;
    RawSenderCounters counters;

    // A copy that lives until flush(); empty when no IP packet has this length.
    Bytes keep(Bytes packet) noexcept {
        if (packet.size() > kArenaBytes) return {};
        if (used + packet.size() > kArenaBytes) flush();
        std::byte* const at = arena.data() + used;
        std::memcpy(at, packet.data(), packet.size());
        used += packet.size();
        return {at, packet.size()};
    }

    void flush() noexcept {
        ipv4.flush(counters);
        ipv6.flush(counters);
        hops.flush(counters);
        used = 0;
    }

    [[nodiscard]] bool full() const noexcept { return ipv4.full() || ipv6.full() || hops.full(); }
    void refuse() noexcept { splice::add(counters.failures, 1); }
};

RawSender::RawSender(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
RawSender::RawSender(RawSender&&) noexcept = default;
RawSender& RawSender::operator=(RawSender&&) noexcept = default;
RawSender::~RawSender() {
    if (impl_) impl_->flush();
}

SystemResult<RawSender> RawSender::open(std::uint32_t mark) {
    auto impl = std::make_unique<Impl>();
    // IPPROTO_RAW takes the IP header from us (IP_HDRINCL, IPV6_HDRINCL). Of an IPv4 header the kernel still
    // writes the checksum and total length, and the identification where it is 0; of an IPv6 header nothing
    // (raw(7)).
    auto ipv4 = open_socket(AF_INET, SOCK_RAW, IPPROTO_RAW, mark, "open a raw IPv4 socket");
    if (!ipv4) return std::unexpected(ipv4.error());
    impl->ipv4.adopt(std::move(*ipv4));
    // A host without IPv6 has no such packets; should one come, it is refused and counted.
    auto ipv6 = open_socket(AF_INET6, SOCK_RAW, IPPROTO_RAW, mark, "open a raw IPv6 socket");
    if (!ipv6 && ipv6.error().code != EAFNOSUPPORT) return std::unexpected(ipv6.error());
    if (ipv6) impl->ipv6.adopt(std::move(*ipv6));
    // Protocol 0: receives nothing.
    auto hops = open_socket(AF_PACKET, SOCK_DGRAM, 0, mark, "open a packet socket");
    if (!hops) return std::unexpected(hops.error());
    impl->hops.adopt(std::move(*hops));
    return RawSender(std::move(impl));
}

void RawSender::send(Bytes packet) noexcept {
    if (impl_->full()) impl_->flush();
    const unsigned version = ip_version(packet);
    const std::size_t header = version == 4 ? kIpv4Header : kIpv6Header;
    if ((version != 4 && version != 6) || packet.size() < header) return impl_->refuse();
    const Bytes kept = impl_->keep(packet);
    if (kept.empty()) return impl_->refuse();
    if (version == 4) {
        impl_->ipv4.add_packet(kept, ipv4_destination(kept));
    } else {
        impl_->ipv6.add_packet(kept, ipv6_destination(kept));
    }
}

void RawSender::send_to_hop(const Hop& hop, Bytes packet) noexcept {
    // A packet from no Ethernet address is from this host itself, whose routes know the way.
    const bool from_here =
        hop.address_length != 0 && std::ranges::all_of(hop.address, [](auto byte) { return byte == 0; });
    if (hop.interface == 0 || from_here) return send(packet);
    if (impl_->full()) impl_->flush();
    const unsigned version = ip_version(packet);
    if (version != 4 && version != 6) return impl_->refuse();
    const Bytes kept = impl_->keep(packet);
    if (kept.empty()) return impl_->refuse();
    impl_->hops.add_packet(kept, hop_destination(hop, version));
}

void RawSender::flush() noexcept {
    impl_->flush();
}

const RawSenderCounters& RawSender::counters() const noexcept {
    return impl_->counters;
}

}  // namespace splice
