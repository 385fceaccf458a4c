#include "packetbridge/channel.hpp"

#include <fmt/format.h>
#include <poll.h>
#include <sys/eventfd.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <utility>

#include "libsplice/engine/clock.hpp"

namespace splice {
namespace {

// What is read is counted over so long: a flood waits in the socket for the rest of it, and is dropped there.
constexpr Duration kReadTime = 20ms;
constexpr std::size_t kReadsAtOnce = kChannelReadsPerSecond / (1s / kReadTime);

ChannelBackend backend_of(const std::vector<BackendState>& states, const Endpoint& backend) noexcept {
    const auto known = std::ranges::find(states, backend, &BackendState::backend);
    if (known == states.end()) return ChannelBackend::unknown;
    return known->look == BackendLook::listens ? ChannelBackend::takes : ChannelBackend::takes_none;
}

std::uint32_t told_count(std::uint64_t count) noexcept {
    return static_cast<std::uint32_t>(std::min<std::uint64_t>(count, kConnectionsUnknown - 1));
}

}  // namespace

std::expected<std::unique_ptr<BridgeChannel>, std::string> BridgeChannel::start(
    Told told, const BridgeDataPlane& dataplane, ConnectionCount& connections, const BackendWatch& backends) {
    std::unique_ptr<BridgeChannel> channel(new BridgeChannel(dataplane, connections, backends));
    channel->wakeup_ = Descriptor(eventfd(0, EFD_NONBLOCK | EFD_CLOEXEC));
    if (!channel->wakeup_) return std::unexpected(system_error("open an eventfd", errno).error().text);
    if (auto replaced = channel->replace(std::move(told)); !replaced)
        return std::unexpected(replaced.error());
    channel->thread_ = std::jthread([&self = *channel](const std::stop_token& stop) { self.run(stop); });
    return channel;
}

BridgeChannel::~BridgeChannel() {
    thread_.request_stop();
    wake();
}

void BridgeChannel::wake() noexcept {
    constexpr std::uint64_t kOne = 1;
    (void)!::write(wakeup_.get(), &kOne, sizeof(kOne));
}

std::expected<BridgeChannel::Doors, std::string> BridgeChannel::open_doors(
    const PacketbridgeConfig& config) const {
    Doors doors;
    for (const IpAddress& address : config.addresses) {
        const auto had = std::ranges::find(doors_, address, [](const auto& door) { return door->address; });
        if (had != doors_.end()) {
            doors.push_back(*had);
            continue;
        }
        const Endpoint local{address, config.common.channel.value_or(kChannelPort)};
        auto socket = UdpSocket::bind(local, "channel: take UDP " + local.to_string());
        if (!socket)
            return std::unexpected(socket.error().text +
                                   " (choose another port by `channel`, here and on balancers, or off)");
        doors.push_back(std::make_shared<Door>(Door{address, std::move(*socket)}));
    }
    return doors;
}

std::expected<void, std::string> BridgeChannel::replace(Told told) {
    auto doors = open_doors(told.config);
    if (!doors) return std::unexpected(doors.error());
    {
        const std::lock_guard lock(mutex_);
        told_ = std::move(told);
        doors_ = std::move(*doors);
    }
    wake();
    return {};
}

void BridgeChannel::leave() {
    const std::lock_guard lock(mutex_);
    told_.leaving = true;
}

ChannelPresence BridgeChannel::presence() {
    const ConnectionCount::Counts counts = connections_.now();
    const std::vector<BackendState> backends = backends_.states();
    const std::vector<Endpoint> translated = dataplane_.translated_beside();
    const BridgeStatistics statistics = dataplane_.statistics();
    const std::lock_guard lock(mutex_);
    ChannelPresence presence;
    presence.version = SPLICELB_VERSION;
    presence.number = told_.config.number;
    presence.leaving = told_.leaving;
    presence.connections = told_count(counts.all);
    presence.opening = told_count(statistics.flows_opening);
    presence.services_in_all = static_cast<std::uint16_t>(told_.config.services.size());
    for (const BridgeServiceConfig& service : told_.config.services) {
        const auto counted = std::ranges::find(counts.services, service.vip, &ServiceConnections::vip);
        const bool beside = std::ranges::find(translated, service.backend) != translated.end();
        presence.services.push_back({.dscp = service.dscp,
                                     .vip = service.vip,
                                     .window_scale = service.window_scale,
                                     .backend = backend_of(backends, service.backend),
                                     .adopts = told_.mode == Mode::adopt && !beside,
                                     .connections = counted == counts.services.end()
                                                        ? kConnectionsUnknown
                                                        : told_count(counted->open)});
    }
    return presence;
}

std::size_t BridgeChannel::serve(Door& door, ChannelAnswers& answers, std::size_t most) {
    // One byte more than a packet has: what fills it is none.
    std::array<std::byte, kChannelMost + 1> room;
    std::array<std::byte, kChannelMost> answer;
    std::size_t read = 0;
    for (; read < most; ++read) {
        const auto received = door.socket.receive(room);
        if (!received) break;
        auto [end, bytes] = answers.handle(
            read_clock(), received->from.address, received->packet, [this] { return presence(); }, answer);
        if (!bytes.empty() && door.socket.send(received->from, bytes) != 0) end = ChannelEnd::not_sent;
        counters_[static_cast<std::size_t>(end)].fetch_add(1, std::memory_order_relaxed);
    }
    return read;
}

void BridgeChannel::run(const std::stop_token& stop) {
    ChannelAnswers answers{ChannelSecret{}};
    Duration span_ends{};
    std::size_t left = 0;
    while (!stop.stop_requested()) {
        Doors doors;
        {
            const std::lock_guard lock(mutex_);
            doors = doors_;
            answers.replace_secret(channel_secret(told_.secret));
        }
        std::vector<pollfd> waits{{wakeup_.get(), POLLIN, 0}};
        for (const auto& door : doors) waits.push_back({door->socket.descriptor(), POLLIN, 0});
        bool changed = false;
        while (!changed) {
            const Duration now = read_clock().monotonic;
            if (now >= span_ends) {
                span_ends = now + kReadTime;
                left = kReadsAtOnce;
            }
            // Of a flood no more is read for now.
            const bool waits_out = left == 0;
            const int most =
                waits_out
                    ? static_cast<int>(std::chrono::ceil<std::chrono::milliseconds>(span_ends - now).count())
                    : -1;
            if (poll(waits.data(), waits_out ? 1 : waits.size(), most) < 0 && errno != EINTR) return;
            if (waits[0].revents != 0) {
                std::uint64_t count = 0;
                (void)!::read(wakeup_.get(), &count, sizeof(count));
                changed = true;
            }
            for (std::size_t i = 0; i < doors.size() && !waits_out; ++i) {
                if (waits[i + 1].revents != 0) left -= serve(*doors[i], answers, left);
            }
        }
    }
}

}  // namespace splice
