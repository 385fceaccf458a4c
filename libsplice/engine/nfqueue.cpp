#include "libsplice/engine/nfqueue.hpp"

// Before the kernel's headers, which then leave out what it defines.
#include <netinet/in.h>

#include <libmnl/libmnl.h>
#include <libnetfilter_queue/libnetfilter_queue.h>
#include <linux/netfilter.h>
#include <linux/netfilter/nfnetlink_queue.h>
#include <linux/netlink.h>
#include <sys/socket.h>

#include <algorithm>
#include <array>
#include <atomic>
#include <cerrno>
#include <cstring>
#include <fstream>
#include <new>
#include <sstream>
#include <string>
#include <vector>

#include "libsplice/engine/interface.hpp"
#include "libsplice/engine/netlink.hpp"

namespace splice {
namespace {

// The most that one packet message carries: an attribute's length has 16 bits and counts its own header.
constexpr std::uint32_t kMaxPayload = 0xffff - MNL_ATTR_HDRLEN;
// Datagrams (one packet each) that one system call takes.
constexpr std::size_t kBatch = 64;
// A datagram: the payload and every other attribute that the kernel may put before it. Not a multiple of a
// page, so that the heads of all slots do not compete for the same cache lines.
constexpr std::size_t kSlotBytes = 65536 + 576;
// What a send carries at most: large enough to share the system call, small enough for a plain kernel
// allocation.
constexpr std::size_t kVerdictBytes = 128UZ * 1024;
constexpr int kReceiveBuffer = 32 * 1024 * 1024;
constexpr int kSendBuffer = 1024 * 1024;

constexpr std::uint16_t message_type(unsigned message) noexcept {
    return static_cast<std::uint16_t>((NFNL_SUBSYS_QUEUE << 8) | message);
}

// A verdict as the kernel reads it. For an edited packet `payload` is followed by the packet; otherwise it is
// left out.
struct VerdictMessage {
    nlmsghdr header;
    nfgenmsg generic;
    nlattr verdict_attribute;
    nfqnl_msg_verdict_hdr verdict;
    nlattr payload_attribute;
};
constexpr std::size_t kPlainVerdict = offsetof(VerdictMessage, payload_attribute);
static_assert(sizeof(VerdictMessage) == 36 && kPlainVerdict == 32, "no padding: it is written as it stands");
// Every packet message has at least this before its payload, so a verdict fits there: the netlink header,
// nfgenmsg, the packet header attribute (NFQA_PACKET_HDR, always sent) and the payload's own attribute
// header.
static_assert(sizeof(nlmsghdr) + sizeof(nfgenmsg) +
                  MNL_ALIGN(MNL_ATTR_HDRLEN + sizeof(nfqnl_msg_packet_hdr)) + MNL_ATTR_HDRLEN >=
              sizeof(VerdictMessage));

constexpr std::size_t align4(std::size_t length) noexcept {
    return (length + 3) & ~std::size_t{3};
}

// The verdicts of a batch, sent together. Each is written into the receive buffer over the headers of the
// message that brought its packet, which nobody reads any more: an edited packet is sent from where it was
// received.
class VerdictBatch {
  public:
    VerdictBatch(int socket, std::uint16_t queue) noexcept : socket_(socket), queue_(queue) {}

    // `room` is where the packet's message began.
    void add(std::byte* room, const QueuedPacket& packet, Disposition disposition) noexcept {
        if (disposition == Disposition::accept_edited && !packet.truncated) {
            add_edited(packet);
        } else {
            add_plain(room, packet.id, disposition == Disposition::drop ? NF_DROP : NF_ACCEPT);
        }
    }

    void flush() noexcept {
        if (count_ == 0) return;
        if (!send(messages_.data(), count_)) send_one_by_one();
        count_ = 0;
        bytes_ = 0;
        run_ = nullptr;
    }

    [[nodiscard]] std::uint64_t lost() const noexcept { return lost_.load(std::memory_order_relaxed); }

  private:
    void add_edited(const QueuedPacket& packet) noexcept {
        const std::size_t length = packet.bytes.size();
        make_room(align4(sizeof(VerdictMessage) + length));
        std::byte* const at = packet.bytes.data() - sizeof(VerdictMessage);
        auto* const message =
            write(at, NFQNL_MSG_VERDICT, packet.id, NF_ACCEPT, sizeof(VerdictMessage) + length);
        message->payload_attribute.nla_type = NFQA_PAYLOAD;
        message->payload_attribute.nla_len = static_cast<std::uint16_t>(MNL_ATTR_HDRLEN + length);
        // The bytes behind the payload are the slot's own, and what they hold does not matter.
        append(at, align4(sizeof(VerdictMessage) + length));
        run_ = nullptr;
    }

    // A batch verdict covers every waiting packet up to its id. The packets before this run have had theirs,
    // earlier in the same queue, so a run of equal answers is one message with the last id.
    void add_plain(std::byte* room, std::uint32_t id, std::uint32_t verdict) noexcept {
        if (run_ != nullptr && run_->verdict.verdict == htonl(verdict)) {
            run_->header.nlmsg_type = message_type(NFQNL_MSG_VERDICT_BATCH);
            run_->verdict.id = htonl(id);
            return;
        }
        make_room(kPlainVerdict);
        run_ = write(room, NFQNL_MSG_VERDICT, id, verdict, kPlainVerdict);
        append(room, kPlainVerdict);
    }

    VerdictMessage* write(std::byte* at, unsigned type, std::uint32_t id, std::uint32_t verdict,
                          std::size_t length) noexcept {
        auto* const message = reinterpret_cast<VerdictMessage*>(at);
        message->header = {static_cast<std::uint32_t>(length), message_type(type), NLM_F_REQUEST, 0, 0};
        message->generic = {AF_UNSPEC, NFNETLINK_V0, htons(queue_)};
        message->verdict_attribute = {MNL_ATTR_HDRLEN + sizeof(nfqnl_msg_verdict_hdr), NFQA_VERDICT_HDR};
        message->verdict = {htonl(verdict), htonl(id)};
        return message;
    }

    void make_room(std::size_t length) noexcept {
        if (bytes_ + length > kVerdictBytes) flush();
    }

    void append(std::byte* at, std::size_t length) noexcept {
        messages_[count_++] = {at, length};
        bytes_ += length;
    }

    bool send(iovec* first, std::size_t count) const noexcept {
        sockaddr_nl kernel{};
        kernel.nl_family = AF_NETLINK;
        msghdr message{};
        message.msg_name = &kernel;
        message.msg_namelen = sizeof(kernel);
        message.msg_iov = first;
        message.msg_iovlen = count;
        ssize_t sent = 0;
        do {
            sent = sendmsg(socket_, &message, 0);
        } while (sent < 0 && errno == EINTR);
        return sent >= 0;
    }

    // The kernel had no memory for the whole: smaller pieces may pass. A packet whose verdict is lost waits
    // until a later batch verdict covers it.
    void send_one_by_one() noexcept {
        for (std::size_t i = 0; i < count_; i++) {
            if (!send(&messages_[i], 1)) lost_.fetch_add(1, std::memory_order_relaxed);
        }
    }

    int socket_;
    std::uint16_t queue_;
    std::array<iovec, kBatch> messages_{};
    std::size_t count_ = 0;
    std::size_t bytes_ = 0;
    VerdictMessage* run_ = nullptr;  // the last message, when the next equal answer may join it
    std::atomic<std::uint64_t> lost_{};
};

template <class T>
T read_attribute(const nlattr* attribute) noexcept {
    T value{};
    std::memcpy(&value, mnl_attr_get_payload(attribute),
                std::min<std::size_t>(sizeof(value), mnl_attr_get_payload_len(attribute)));
    return value;
}

void read_hop_address(const nlattr* attribute, Hop& hop) noexcept {
    const auto from = read_attribute<nfqnl_msg_packet_hw>(attribute);
    const std::size_t length = std::min<std::size_t>(ntohs(from.hw_addrlen), sizeof(hop.address));
    hop.address_length = static_cast<std::uint8_t>(length);
    std::memcpy(hop.address, from.hw_addr, length);
}

// What a packet message says. The kernel wrote it, so only lengths are looked at. False: it carries no
// packet.
bool read_packet(std::byte* message, std::size_t length, QueuedPacket& packet) noexcept {
    std::size_t at = sizeof(nlmsghdr) + sizeof(nfgenmsg);
    bool has_payload = false;
    while (at + MNL_ATTR_HDRLEN <= length) {
        const auto* const attribute = reinterpret_cast<const nlattr*>(message + at);
        if (attribute->nla_len < MNL_ATTR_HDRLEN || at + attribute->nla_len > length) break;
        switch (attribute->nla_type & NLA_TYPE_MASK) {
            case NFQA_PACKET_HDR:
                packet.id = ntohl(read_attribute<nfqnl_msg_packet_hdr>(attribute).packet_id);
                break;
            case NFQA_IFINDEX_INDEV:
                packet.hop.interface = ntohl(read_attribute<std::uint32_t>(attribute));
                break;
            case NFQA_HWADDR:
                read_hop_address(attribute, packet.hop);
                break;
            case NFQA_CAP_LEN:
                packet.truncated = true;
                break;
            case NFQA_SKB_INFO: {
                const std::uint32_t info = ntohl(read_attribute<std::uint32_t>(attribute));
                packet.checksum_finished = (info & NFQA_SKB_CSUMNOTREADY) == 0;
                packet.super_packet = (info & NFQA_SKB_GSO) != 0;
                break;
            }
            case NFQA_PAYLOAD:
                packet.bytes = {message + at + MNL_ATTR_HDRLEN,
                                attribute->nla_len - std::size_t{MNL_ATTR_HDRLEN}};
                has_payload = true;
                break;
            default:
                break;
        }
        at += align4(attribute->nla_len);
    }
    return has_payload;
}

void set_buffer(int socket, int forced, int plain, int bytes) noexcept {
    // Beyond the system's limit where we may; up to the limit where not.
    if (setsockopt(socket, SOL_SOCKET, forced, &bytes, sizeof(bytes)) < 0)
        setsockopt(socket, SOL_SOCKET, plain, &bytes, sizeof(bytes));
}

void tune(int socket) noexcept {
    const int on = 1;
    // A full buffer drops packets, which overruns() tells; an error instead would stop the receiver for
    // nothing.
    setsockopt(socket, SOL_NETLINK, NETLINK_NO_ENOBUFS, &on, sizeof(on));
    // A refused verdict (its packet went away with its interface) comes back without its payload.
    setsockopt(socket, SOL_NETLINK, NETLINK_CAP_ACK, &on, sizeof(on));
    set_buffer(socket, SO_RCVBUFFORCE, SO_RCVBUF, kReceiveBuffer);
    set_buffer(socket, SO_SNDBUFFORCE, SO_SNDBUF, kSendBuffer);
}

NetlinkMessage config_message(std::uint16_t queue) noexcept {
    NetlinkMessage message(message_type(NFQNL_MSG_CONFIG), 0);
    auto* const generic = message.put_extra_header<nfgenmsg>();
    generic->version = NFNETLINK_V0;
    generic->res_id = htons(queue);
    return message;
}

// Bound with its limits and flags before the copy mode, without which the kernel queues nothing: no packet
// can come between the acknowledgements.
int bind_queue(NetlinkSocket& socket, const NfQueueOptions& options) noexcept {
    const std::uint32_t flags = (options.gso ? std::uint32_t{NFQA_CFG_F_GSO} : 0) |
                                (options.fail_open ? std::uint32_t{NFQA_CFG_F_FAIL_OPEN} : 0);
    NetlinkMessage bind = config_message(options.number);
    nfq_nlmsg_cfg_put_cmd(bind.header(), AF_UNSPEC, NFQNL_CFG_CMD_BIND);
    nfq_nlmsg_cfg_put_qmaxlen(bind.header(), options.max_length);
    mnl_attr_put_u32(bind.header(), NFQA_CFG_MASK, htonl(NFQA_CFG_F_GSO | NFQA_CFG_F_FAIL_OPEN));
    mnl_attr_put_u32(bind.header(), NFQA_CFG_FLAGS, htonl(flags));
    if (const int error = socket.order(bind)) return error;

    NetlinkMessage copy = config_message(options.number);
    nfq_nlmsg_cfg_put_params(copy.header(), NFQNL_COPY_PACKET, kMaxPayload);
    return socket.send(copy);
}

std::string_view bind_hint(int error) {
    switch (error) {
        case EPERM:  // the kernel's answer for another's queue, too
            return check_privileges() ? "another process has this queue: is one of ours still running?"
                                      : "it needs CAP_NET_ADMIN: run it as root";
        case EBUSY:
            return "another process has this queue: is one of ours still running?";
        case EINVAL:
        case EOPNOTSUPP:
            return "the kernel has no nfnetlink_queue: modprobe nfnetlink_queue";
        default:
            return {};
    }
}

}  // namespace

struct NfQueue::Impl {
    Impl(NetlinkSocket opened, std::uint16_t number)
        : socket(std::move(opened)),
          queue(number),
          slots(static_cast<std::byte*>(::operator new(kBatch * kSlotBytes, std::align_val_t{64}))),
          verdicts(socket.descriptor(), number) {
        for (std::size_t i = 0; i < kBatch; i++) {
            vectors[i] = {slot(i), kSlotBytes};
            headers[i].msg_hdr.msg_iov = &vectors[i];
            headers[i].msg_hdr.msg_iovlen = 1;
        }
    }
    ~Impl() { ::operator delete(slots, std::align_val_t{64}); }
    Impl(const Impl&) = delete;
    Impl& operator=(const Impl&) = delete;

    [[nodiscard]] std::byte* slot(std::size_t index) const noexcept { return slots + index * kSlotBytes; }

    // One datagram: a packet, or the kernel's complaint about a verdict, which needs no answer.
    bool handle_datagram(std::byte* datagram, std::size_t length,
                         const std::function<Disposition(QueuedPacket&)>& handler) {
        const auto* const header = reinterpret_cast<const nlmsghdr*>(datagram);
        if (!mnl_nlmsg_ok(header, static_cast<int>(length))) return false;
        if (header->nlmsg_type != message_type(NFQNL_MSG_PACKET)) return false;
        QueuedPacket packet;
        if (!read_packet(datagram, header->nlmsg_len, packet)) return false;
        const std::byte* const begin = packet.bytes.data();
        const Disposition disposition = handler(packet);
        // The handler may have shortened it at its end, never moved it.
        if (packet.bytes.data() != begin) packet.bytes = {};
        verdicts.add(datagram, packet, packet.bytes.empty() ? Disposition::drop : disposition);
        return true;
    }

    NetlinkSocket socket;
    std::uint16_t queue;
    std::byte* slots;
    std::array<iovec, kBatch> vectors{};
    std::array<mmsghdr, kBatch> headers{};
    VerdictBatch verdicts;
};

NfQueue::NfQueue(std::unique_ptr<Impl> impl) noexcept : impl_(std::move(impl)) {}
NfQueue::NfQueue(NfQueue&&) noexcept = default;
NfQueue& NfQueue::operator=(NfQueue&&) noexcept = default;
NfQueue::~NfQueue() = default;

SystemResult<NfQueue> NfQueue::open(const NfQueueOptions& options) {
    const std::string doing = "open NFQUEUE " + std::to_string(options.number);
    auto socket = NetlinkSocket::open(NETLINK_NETFILTER, doing);
    if (!socket) return std::unexpected(socket.error());
    tune(socket->descriptor());
    if (const int error = bind_queue(*socket, options)) return system_error(doing, error, bind_hint(error));
    return NfQueue(std::make_unique<Impl>(std::move(*socket), options.number));
}

int NfQueue::descriptor() const noexcept {
    return impl_->socket.descriptor();
}

int NfQueue::receive(const std::function<Disposition(QueuedPacket&)>& handler) {
    const int arrived = recvmmsg(descriptor(), impl_->headers.data(), kBatch, MSG_DONTWAIT, nullptr);
    int packets = 0;
    for (int i = 0; i < arrived; i++) {
        const auto index = static_cast<std::size_t>(i);
        if (impl_->handle_datagram(impl_->slot(index), impl_->headers[index].msg_len, handler)) packets++;
    }
    impl_->verdicts.flush();
    return packets;
}

std::uint64_t NfQueue::overruns() const noexcept {
    std::uint64_t total = impl_->verdicts.lost();
    // Not /proc/net: that is the main thread's network namespace.
    std::ifstream file("/proc/thread-self/net/netfilter/nfnetlink_queue");
    for (std::string line; std::getline(file, line);) {
        // number, portid, waiting, copy mode, copy range, dropped (queue full), dropped (our buffer full),
        // ...
        std::array<std::uint64_t, 7> fields{};
        std::istringstream numbers(line);
        for (std::uint64_t& field : fields) numbers >> field;
        if (numbers && fields[0] == impl_->queue) total += fields[5] + fields[6];
    }
    return total;
}

}  // namespace splice
