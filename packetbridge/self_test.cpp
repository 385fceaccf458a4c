#include "packetbridge/self_test.hpp"

#include <fmt/format.h>
#include <poll.h>

#include <algorithm>
#include <chrono>
#include <memory>
#include <utility>

#include "libsplice/core/prober.hpp"
#include "libsplice/datapath/packet.h"
#include "libsplice/engine/clock.hpp"
#include "libsplice/engine/loopback_tap.hpp"
#include "libsplice/engine/next_hop.hpp"
#include "libsplice/engine/randomness.hpp"
#include "libsplice/engine/raw_socket.hpp"
#include "libsplice/engine/socket_diag.hpp"
#include "libsplice/ops/log.hpp"

namespace splice {
namespace {

using namespace std::chrono_literals;

constexpr Duration kPatience = 4s;
constexpr int kLookMs = 50;

// By a packet socket on loopback: a raw one's packets would meet the firewall's OUTPUT rules, as no client's
// do.
class ToLoopback final : public Actions {
  public:
    explicit ToLoopback(RawSender& sender) noexcept : sender_(sender) {}
    void send(Bytes packet) noexcept override { sender_.send_to_hop({.interface = kLoopbackIndex}, packet); }
    void send_to_hop(const Hop& hop, Bytes packet) noexcept override { sender_.send_to_hop(hop, packet); }

  private:
    static constexpr std::uint32_t kLoopbackIndex = 1;
    RawSender& sender_;
};

ProbeOrder order_for(const SelfTestOpening& opening, std::uint64_t id) {
    static const auto rule = [] {
        ProbeRule asks;
        asks.kind = ProbeKind::tcp;
        asks.send = "\r\n";  // connection tracking takes no connection up that begins with its end
        return std::make_shared<const ProbeRule>(std::move(asks));
    }();
    return {.id = id,
            .rule = rule,
            .vip = opening.service.vip,
            .own = opening.bridge,
            .bridge = opening.bridge,
            .carriage = opening.service.carriage,
            .timeout = kPatience};
}

void hear(LoopbackTap& tap, Prober& prober, RawSender& sender, ToLoopback& out) {
    tap.receive(
        [&](QueuedPacket& packet) {
            splice_packet judged{};
            const std::byte* const data = packet.bytes.data();
            if (splice_parse_ip(data, data + packet.bytes.size(), &judged) == SPLICE_CONTINUE &&
                judged.protocol == SPLICE_PROTOCOL_TCP)
                (void)prober.handle(read_clock(), judged, packet.bytes, out);
            return Disposition::drop;
        },
        sender);
}

void run(const std::stop_token& stop, const std::vector<SelfTestOpening>& openings,
         const splice_secret& secret, std::uint32_t mark, const std::string& mode) {
    auto tap = LoopbackTap::open(SPLICE_PROBE_PORT_FIRST);
    auto sender = RawSender::open(mark);
    if (!tap || !sender) return;
    ToLoopback out(*sender);
    Prober prober(random_seed());
    for (std::size_t i = 0; i < openings.size(); ++i)
        (void)prober.begin(read_clock(), secret, order_for(openings[i], i), out);
    sender->flush();
    while (!stop.stop_requested() && prober.running() != 0) {
        pollfd ready{(*tap)->descriptor(), POLLIN, 0};
        if (poll(&ready, 1, kLookMs) > 0) hear(**tap, prober, *sender, out);
        prober.expire(read_clock(), out);
        sender->flush();
    }
    if (stop.stop_requested()) return;
    std::size_t answered = openings.size();
    for (const ProbeResult& result : prober.take_results()) {
        if (result.end != ProbeEnd::silent) continue;
        log_warning(swallowed(openings[result.id], mode));
        --answered;
    }
    log_info(fmt::format("own test: {} of {} openings through this bridge's own hooks were answered",
                         answered, openings.size()));
}

}  // namespace

std::vector<SelfTestOpening> self_test_openings(const JoinerSetup& setup, bool local_clients) {
    std::vector<SelfTestOpening> openings;
    auto sockets = SocketDiag::open();
    if (!sockets) return openings;
    for (const JoinerService& service : setup.services) {
        const int family = service.vip.address.family();
        const auto bridge = std::ranges::find(setup.addresses, family, &IpAddress::family);
        const bool known = std::ranges::any_of(
            openings, [&](const SelfTestOpening& each) { return each.service.backend == service.backend; });
        const auto way = way_to(service.backend.address);
        if (known || bridge == setup.addresses.end() || !way || !way->local) continue;
        if ((family == 4 && !local_clients) || !sockets->has_listener(service.backend)) continue;
        openings.push_back({service, *bridge});
    }
    return openings;
}

std::string swallowed(const SelfTestOpening& opening, std::string_view mode) {
    return fmt::format(
        "an opening that this bridge tried through its own hooks, for {} to its backend {}, got no answer: "
        "something on this host swallows what is delivered there, most likely the firewall; mode {} needs "
        "what "
        "docs/hosts.md lists under Firewalls",
        opening.service.vip.to_string(), opening.service.backend.to_string(), mode);
}

SelfTest::SelfTest(std::vector<SelfTestOpening> openings, const splice_secret& secret, std::uint32_t mark,
                   std::string mode)
    : thread_([openings = std::move(openings), secret, mark, mode = std::move(mode)](
                  const std::stop_token& stop) { run(stop, openings, secret, mark, mode); }) {}

}  // namespace splice
