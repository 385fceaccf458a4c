#include "libsplice/engine/netlink.hpp"

#include <sys/socket.h>

#include <cerrno>
#include <cstring>
#include <vector>

namespace splice {
namespace {

// The kernel fills dumps in pieces of at most this size.
constexpr std::size_t kDumpBuffer = 32768;

// errno of an NLMSG_ERROR message; 0 = an acknowledgement.
int error_of(const nlmsghdr* header) noexcept {
    const auto* error = static_cast<const nlmsgerr*>(mnl_nlmsg_get_payload(header));
    return -error->error;
}

}  // namespace

NetlinkMessage::NetlinkMessage(std::uint16_t type, std::uint16_t flags) noexcept {
    nlmsghdr* const put = mnl_nlmsg_put_header(bytes_.data());
    put->nlmsg_type = type;
    put->nlmsg_flags = static_cast<std::uint16_t>(NLM_F_REQUEST | flags);
}

SystemResult<NetlinkSocket> NetlinkSocket::open(int protocol, std::string_view doing) {
    Descriptor socket(::socket(AF_NETLINK, SOCK_RAW | SOCK_CLOEXEC, protocol));
    if (!socket) return system_error(doing, errno, "the kernel lacks this kind of netlink socket");
    sockaddr_nl any{};
    any.nl_family = AF_NETLINK;
    if (bind(socket.get(), reinterpret_cast<const sockaddr*>(&any), sizeof(any)) < 0)
        return system_error(doing, errno);
    return NetlinkSocket(std::move(socket));
}

int NetlinkSocket::send(const NetlinkMessage& message) noexcept {
    sockaddr_nl kernel{};
    kernel.nl_family = AF_NETLINK;
    const ssize_t sent = sendto(socket_.get(), message.header(), message.header()->nlmsg_len, 0,
                                reinterpret_cast<const sockaddr*>(&kernel), sizeof(kernel));
    return sent < 0 ? errno : 0;
}

int NetlinkSocket::order(NetlinkMessage& message) noexcept {
    nlmsghdr* const header = message.header();
    header->nlmsg_flags |= NLM_F_ACK;
    header->nlmsg_seq = ++sequence_;
    if (const int error = send(message)) return error;
    for (;;) {
        alignas(nlmsghdr) std::array<std::byte, 4096> answer;
        const ssize_t length = recv(socket_.get(), answer.data(), answer.size(), 0);
        if (length < 0 && errno == EINTR) continue;
        if (length < 0) return errno;
        const auto* at = reinterpret_cast<const nlmsghdr*>(answer.data());
        if (!mnl_nlmsg_ok(at, static_cast<int>(length))) continue;
        if (at->nlmsg_seq == sequence_ && at->nlmsg_type == NLMSG_ERROR) return error_of(at);
    }
}

int NetlinkSocket::ask(NetlinkMessage& message, const std::function<void(const nlmsghdr*)>& visit) {
    message.header()->nlmsg_seq = ++sequence_;
    if (const int error = send(message)) return error;
    return answers(true, visit);
}

int NetlinkSocket::dump(NetlinkMessage& message, const std::function<void(const nlmsghdr*)>& visit) {
    nlmsghdr* const header = message.header();
    header->nlmsg_flags |= NLM_F_DUMP;
    header->nlmsg_seq = ++sequence_;
    if (const int error = send(message)) return error;
    return answers(false, visit);
}

int NetlinkSocket::answers(bool one, const std::function<void(const nlmsghdr*)>& visit) {
    std::vector<std::byte> answer(kDumpBuffer);
    for (;;) {
        const ssize_t length = recv(socket_.get(), answer.data(), answer.size(), 0);
        if (length < 0 && errno == EINTR) continue;
        if (length < 0) return errno;
        int rest = static_cast<int>(length);
        const auto* at = reinterpret_cast<const nlmsghdr*>(answer.data());
        for (; mnl_nlmsg_ok(at, rest); at = mnl_nlmsg_next(at, &rest)) {
            if (at->nlmsg_seq != sequence_) continue;
            if (at->nlmsg_type == NLMSG_DONE) return 0;
            if (at->nlmsg_type == NLMSG_ERROR) return error_of(at);
            visit(at);
            if (one) return 0;
        }
    }
}

}  // namespace splice
