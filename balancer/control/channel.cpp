#include "balancer/control/channel.hpp"

#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "libsplice/engine/clock.hpp"
#include "libsplice/engine/randomness.hpp"

namespace splice {
namespace {

constexpr std::size_t kChecksWaiting = 16;
constexpr std::size_t kReadsAtOnce = 256;  // before questions are due again
constexpr Duration kReportGap = 200ms;

}  // namespace

std::vector<ChannelPeer> channel_peers_of(const BalancerConfig& config) {
    std::vector<ChannelPeer> peers;
    for (const ServiceConfig& service : config.services)
        for (const BridgeConfig& bridge : service.bridges)
            peers.push_back({.address = bridge.address, .often = bridge.max_connections != 0});
    return peers;
}

SystemResult<std::unique_ptr<BalancerChannel>> BalancerChannel::start(std::uint16_t port,
                                                                      std::function<void()> reported) {
    Descriptor wakeup(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    if (!wakeup) return system_error("open an eventfd", errno);
    std::unique_ptr<BalancerChannel> channel(
        new BalancerChannel(port, std::move(reported), std::move(wakeup), random_key()));
    for (const int family : {4, 6}) {
        auto socket = UdpSocket::open(family, "open a socket for the channel");
        if (socket) channel->sockets_.push_back(std::move(*socket));
        // A host may be without IPv6.
        if (!socket && family == 4) return std::unexpected(socket.error());
    }
    channel->thread_ = std::jthread([&self = *channel](const std::stop_token& stop) { self.run(stop); });
    return channel;
}

BalancerChannel::~BalancerChannel() {
    thread_.request_stop();
    wake();
}

void BalancerChannel::wake() noexcept {
    constexpr std::uint64_t kOne = 1;
    (void)!::write(wakeup_.get(), &kOne, sizeof(kOne));
}

void BalancerChannel::replace(std::vector<ChannelPeer> peers, const splice_secret& secret) {
    {
        const std::lock_guard lock(mutex_);
        asks_.replace(read_clock().monotonic, peers, channel_secret(secret));
    }
    wake();
}

ChannelReport BalancerChannel::report() const {
    const std::lock_guard lock(mutex_);
    return asks_.report();
}

bool BalancerChannel::check(std::function<void()> done) {
    {
        const std::lock_guard lock(mutex_);
        if (waiting_.size() >= kChecksWaiting) return false;
        waiting_.push_back(std::move(done));
    }
    wake();
    return true;
}

void BalancerChannel::begin_checks(Duration now) {
    if (!checking_.empty()) return;
    const std::lock_guard lock(mutex_);
    if (waiting_.empty()) return;
    checking_ = std::exchange(waiting_, {});
    check_began_ = now;
    asks_.ask_all(now);
}

void BalancerChannel::end_checks() {
    if (checking_.empty()) return;
    {
        const std::lock_guard lock(mutex_);
        if (!asks_.all_told_since(check_began_)) return;
    }
    for (const auto& done : std::exchange(checking_, {})) done();
}

void BalancerChannel::ask(Instant now) {
    const std::lock_guard lock(mutex_);
    asks_.ask(now, [this](const IpAddress& address, Bytes question) {
        questions_.fetch_add(1, std::memory_order_relaxed);
        const std::size_t socket = address.family() == 4 ? 0 : 1;
        if (socket < sockets_.size() && sockets_[socket].send({address, port_}, question) == 0) return;
        counters_[static_cast<std::size_t>(ChannelEnd::not_sent)].fetch_add(1, std::memory_order_relaxed);
    });
}

void BalancerChannel::read(UdpSocket& socket) {
    std::array<std::byte, kChannelMost + 1> room;
    const Instant now = read_clock();
    const std::lock_guard lock(mutex_);
    for (std::size_t i = 0; i < kReadsAtOnce; ++i) {
        const auto received = socket.receive(room);
        if (!received) return;
        const ChannelEnd end = received->from.port == port_
                                   ? asks_.handle(now, received->from.address, received->packet)
                                   : ChannelEnd::unexpected;
        has_reports_ |= end == ChannelEnd::taken && asks_.is_asked_often(received->from.address);
        counters_[static_cast<std::size_t>(end)].fetch_add(1, std::memory_order_relaxed);
    }
}

void BalancerChannel::run(const std::stop_token& stop) {
    std::vector<pollfd> waits{{wakeup_.get(), POLLIN, 0}};
    for (const UdpSocket& socket : sockets_) waits.push_back({socket.descriptor(), POLLIN, 0});
    // An answer only ever makes it later, so it is looked for again when it has come, and not at each answer.
    std::optional<Duration> due;
    while (!stop.stop_requested()) {
        const Instant now = read_clock();
        begin_checks(now.monotonic);
        if (!due || *due <= now.monotonic || waits[0].revents != 0) {
            ask(now);
            const std::lock_guard lock(mutex_);
            due = asks_.next_due();
        }
        end_checks();
        int wait_ms = -1;
        if (due) {
            const auto wait = std::chrono::ceil<std::chrono::milliseconds>(*due - read_clock().monotonic);
            wait_ms = static_cast<int>(std::clamp<std::int64_t>(wait.count(), 0, 60'000));
        }
        if (poll(waits.data(), waits.size(), wait_ms) < 0 && errno != EINTR) return;
        if (waits[0].revents != 0) {
            std::uint64_t count = 0;
            (void)!::read(wakeup_.get(), &count, sizeof(count));
        }
        for (std::size_t i = 0; i < sockets_.size(); ++i)
            if (waits[i + 1].revents != 0) read(sockets_[i]);
        // What comes within the gap is told with the next answer: another one is never far.
        if (const Duration read_at = read_clock().monotonic; has_reports_ && read_at >= next_report_) {
            has_reports_ = false;
            next_report_ = read_at + kReportGap;
            reported_();
        }
    }
}

}  // namespace splice
