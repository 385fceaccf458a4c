// A netlink socket for questions and orders that are answered at once: rtnetlink, and the set-up of an
// NFQUEUE. Messages are built with libmnl into a NetlinkMessage.
#pragma once

#include <libmnl/libmnl.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <functional>

#include "libsplice/base/system_error.hpp"
#include "libsplice/engine/descriptor.hpp"

namespace splice {

// One request under construction, with room for any that we make.
class NetlinkMessage {
  public:
    NetlinkMessage(std::uint16_t type, std::uint16_t flags) noexcept;

    [[nodiscard]] nlmsghdr* header() noexcept { return reinterpret_cast<nlmsghdr*>(bytes_.data()); }
    [[nodiscard]] const nlmsghdr* header() const noexcept {
        return reinterpret_cast<const nlmsghdr*>(bytes_.data());
    }
    // The protocol's own header behind the netlink header, zeroed.
    template <class T>
    T* put_extra_header() noexcept {
        return static_cast<T*>(mnl_nlmsg_put_extra_header(header(), sizeof(T)));
    }

  private:
    static constexpr std::size_t kCapacity = 512;
    alignas(nlmsghdr) std::array<std::byte, kCapacity> bytes_{};
};

// Calls `visit(const nlattr*)` for each attribute behind the protocol's own header.
template <class Visit>
void for_each_attribute(const nlmsghdr* message, std::size_t extra_header, Visit visit) {
    const auto* attribute = static_cast<const nlattr*>(mnl_nlmsg_get_payload_offset(message, extra_header));
    const auto* const end = static_cast<const char*>(mnl_nlmsg_get_payload_tail(message));
    while (mnl_attr_ok(attribute, static_cast<int>(end - reinterpret_cast<const char*>(attribute)))) {
        visit(attribute);
        attribute = mnl_attr_next(attribute);
    }
}

// The same for the attributes within one.
template <class Visit>
void for_each_nested(const nlattr* attribute, Visit visit) {
    const auto* each = static_cast<const nlattr*>(mnl_attr_get_payload(attribute));
    const auto* const end = reinterpret_cast<const char*>(each) + mnl_attr_get_payload_len(attribute);
    while (mnl_attr_ok(each, static_cast<int>(end - reinterpret_cast<const char*>(each)))) {
        visit(each);
        each = mnl_attr_next(each);
    }
}

class NetlinkSocket {
  public:
    // `protocol`: NETLINK_ROUTE, NETLINK_NETFILTER. `doing` begins the error's text.
    static SystemResult<NetlinkSocket> open(int protocol, std::string_view doing);

    [[nodiscard]] int descriptor() const noexcept { return socket_.get(); }

    // Sends an order and waits for the kernel's acknowledgement: 0 or its errno.
    int order(NetlinkMessage& message) noexcept;
    // Sends without asking for an acknowledgement: 0 or errno.
    int send(const NetlinkMessage& message) noexcept;
    // Sends a question that has one answer and hands it to `visit`: 0 or errno.
    int ask(NetlinkMessage& message, const std::function<void(const nlmsghdr*)>& visit);
    // Sends a dump request and hands each answer to `visit`: 0 or errno.
    int dump(NetlinkMessage& message, const std::function<void(const nlmsghdr*)>& visit);

  private:
    int answers(bool one, const std::function<void(const nlmsghdr*)>& visit);
    explicit NetlinkSocket(Descriptor socket) noexcept : socket_(std::move(socket)) {}
    Descriptor socket_;
    std::uint32_t sequence_ = 0;
};

}  // namespace splice
