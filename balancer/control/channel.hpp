// The balancer's end of the channel: asks every bridge what it is, again and again (docs/channel.md), in a
// thread of its own.
#pragma once

#include <atomic>
#include <functional>
#include <memory>
#include <mutex>
#include <optional>
#include <thread>
#include <vector>

#include "balancer/config.hpp"
#include "libsplice/core/channel_asks.hpp"
#include "libsplice/engine/udp_socket.hpp"

namespace splice {

// The addresses of all bridges of the configuration.
[[nodiscard]] std::vector<ChannelPeer> channel_peers_of(const BalancerConfig& config);

class BalancerChannel {
  public:
    // Bridges are asked at that port. `reported`: bridges that are asked often have answered; called in the
    // channel's thread, a few times a second at most. Errors are the system's, in one line.
    static SystemResult<std::unique_ptr<BalancerChannel>> start(std::uint16_t port,
                                                                std::function<void()> reported);
    ~BalancerChannel();
    BalancerChannel(const BalancerChannel&) = delete;
    BalancerChannel& operator=(const BalancerChannel&) = delete;

    void replace(std::vector<ChannelPeer> peers, const splice_secret& secret);
    // What is known of each bridge. Any thread.
    [[nodiscard]] ChannelReport report() const;
    // Asks all bridges at once, and calls `done` in the channel's thread when each has answered or missed
    // kChannelMisses questions: within two seconds for a thousand bridges. Who asks meanwhile waits for the
    // next round. Any thread. False: too many wait, and `done` is never called; nor is it when the channel
    // ends before.
    [[nodiscard]] bool check(std::function<void()> done);
    // Packets that came, and questions that could not be sent, by ChannelEnd; and questions. Any thread.
    [[nodiscard]] std::uint64_t count(ChannelEnd end) const noexcept {
        return counters_[static_cast<std::size_t>(end)].load(std::memory_order_relaxed);
    }
    [[nodiscard]] std::uint64_t questions() const noexcept {
        return questions_.load(std::memory_order_relaxed);
    }

  private:
    BalancerChannel(std::uint16_t port, std::function<void()> reported, Descriptor wakeup,
                    const splice_key& seed) noexcept
        : port_(port), reported_(std::move(reported)), wakeup_(std::move(wakeup)), asks_(seed) {}
    void run(const std::stop_token& stop);
    void ask(Instant now);
    void read(UdpSocket& socket);
    void begin_checks(Duration now);
    void end_checks();
    void wake() noexcept;

    std::uint16_t port_;
    std::function<void()> reported_;
    Descriptor wakeup_;
    std::vector<UdpSocket> sockets_;  // of IPv4 and of IPv6, where the host has it
    ChannelCounters counters_{};
    std::atomic<std::uint64_t> questions_{};
    mutable std::mutex mutex_;
    ChannelAsks asks_;                            // under mutex_
    std::vector<std::function<void()>> waiting_;  // for the next check; under mutex_
    // The channel's thread.
    bool has_reports_ = false;
    Duration next_report_{};
    std::vector<std::function<void()>> checking_;
    Duration check_began_{};
    std::jthread thread_;  // last: it ends before what it works on goes
};

}  // namespace splice
