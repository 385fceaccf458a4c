#include "balancer/bridge_routes.hpp"

#include <fmt/format.h>

#include <algorithm>
#include <string>

#include "libsplice/engine/clock.hpp"
#include "libsplice/ops/log.hpp"

namespace splice {
namespace {

using namespace std::chrono_literals;

// Next hops are looked up again: this long after a notice, which seldom comes alone; while one is not known;
// always.
constexpr Duration kAfterNotice = 20ms;
constexpr Duration kWhileUnknown = 200ms;
constexpr Duration kPeriod = 5s;
// A neighbour that is asked for the first time may need a moment (RFC 4861 section 10: three questions, a
// second apart).
constexpr Duration kUnreachableAfter = 3s;
// Bridges that one line names.
constexpr std::size_t kNamed = 5;

class Notices final : public PacketSource {
  public:
    Notices(NextHops& hops, Duration& next_refresh) : hops_(hops), next_refresh_(next_refresh) {}
    [[nodiscard]] int descriptor() const noexcept override { return hops_.descriptor(); }
    void receive(const Handler&, RawSender&) override {
        if (hops_.drain()) next_refresh_ = std::min(next_refresh_, read_clock().monotonic + kAfterNotice);
    }
    [[nodiscard]] std::uint64_t overruns() const noexcept override { return 0; }

  private:
    NextHops& hops_;
    Duration& next_refresh_;
};

// "b1 (192.168.33.20), b2 (192.168.33.21)", at most kNamed of them.
class NameList {
  public:
    void add(const SplicerBridge& bridge) {
        if (++count_ > kNamed) return;
        text_ += fmt::format("{}{} ({})", text_.empty() ? "" : ", ", bridge.name, bridge.address.to_string());
    }
    [[nodiscard]] bool empty() const noexcept { return count_ == 0; }
    [[nodiscard]] std::string text() const {
        return count_ > kNamed ? fmt::format("{} and {} more", text_, count_ - kNamed) : text_;
    }

  private:
    std::string text_;
    std::size_t count_ = 0;
};

}  // namespace

SystemResult<std::unique_ptr<BridgeRoutes>> BridgeRoutes::open() {
    auto hops = NextHops::open();
    if (!hops) return std::unexpected(hops.error());
    return std::unique_ptr<BridgeRoutes>(new BridgeRoutes(std::move(*hops)));
}

std::unique_ptr<PacketSource> BridgeRoutes::notices() {
    return std::make_unique<Notices>(kernel_, next_refresh_);
}

void BridgeRoutes::refresh(Instant now, std::span<const SplicerBridge> bridges) {
    std::vector<IpAddress> addresses;
    addresses.reserve(bridges.size());
    for (const SplicerBridge& bridge : bridges) addresses.push_back(bridge.address);
    hops_ = kernel_.resolve(addresses);
    tell(now, bridges);
    const auto known = known_mtus_.load();
    if (RouteMtus now_known = mtus(); !known || *known != now_known)
        known_mtus_.store(std::make_shared<const RouteMtus>(std::move(now_known)));
    const bool all = std::ranges::all_of(hops_, [](const auto& hop) { return hop.has_value(); });
    next_refresh_ = now.monotonic + (all ? kPeriod : kWhileUnknown);
}

void BridgeRoutes::tell(Instant now, std::span<const SplicerBridge> bridges) {
    NameList lost;
    NameList back;
    std::uint64_t unreachable = 0;
    told_.resize(std::max(told_.size(), bridges.size()));
    for (std::size_t i = 0; i < bridges.size(); ++i) {
        Told& told = told_[i];
        // Number of a bridge that is gone.
        if (bridges[i].address.is_unspecified()) {
            told = {};
            continue;
        }
        if (hops_[i]) {
            if (told.warned) back.add(bridges[i]);
            told = {};
            continue;
        }
        if (!told.missing_since) told.missing_since = now.monotonic;
        if (now.monotonic - *told.missing_since < kUnreachableAfter) continue;
        ++unreachable;
        if (!std::exchange(told.warned, true)) lost.add(bridges[i]);
    }
    unreachable_.store(unreachable, std::memory_order_relaxed);
    if (!lost.empty())
        log_warning(
            fmt::format("no next hop to {}: no route, or nobody answers ARP or neighbour discovery; what is "
                        "sent there is lost (is the "
                        "host up and in this network? try: ip route get ADDRESS; ip neigh)",
                        lost.text()));
    if (!back.empty()) log_info(fmt::format("the next hop to {} is known again", back.text()));
}

RouteMtus BridgeRoutes::mtus() const {
    RouteMtus mtus;
    mtus.reserve(hops_.size());
    for (const auto& hop : hops_) mtus.push_back(hop ? hop->mtu : 0);
    return mtus;
}

}  // namespace splice
