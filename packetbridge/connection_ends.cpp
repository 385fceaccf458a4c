#include "packetbridge/connection_ends.hpp"

#include <algorithm>
#include <array>
#include <cstring>
#include <utility>

#include "libsplice/engine/clock.hpp"

namespace splice {
namespace {

constexpr std::array<std::string_view, SPLICE_CONNECTION_ENDS> kEnds = {"fin",  "reset",    "timeout",
                                                                        "idle", "replaced", "service_gone"};
// More open connections of the sample than this have no duration in their line.
constexpr std::size_t kMostBegun = 65536;

std::int64_t milliseconds(Duration time) noexcept {
    return std::chrono::duration_cast<std::chrono::milliseconds>(time).count();
}

}  // namespace

std::string_view to_string(splice_connection_end end) noexcept {
    return kEnds[std::min<std::size_t>(end, kEnds.size() - 1)];
}

void ConnectionEnds::opened(const splice_flow_key& key) noexcept {
    if (began_.size() < kMostBegun) began_[key] = read_clock().monotonic;
}

void ConnectionEnds::ended(const splice_flow_key& key, const splice_bridge_flow& flow,
                           splice_connection_end end) noexcept {
    splice_told_end told{};
    told.flow = key;
    told.until_ns = static_cast<std::uint64_t>(read_clock().monotonic.count());
    told.sent = splice_bridge_flow_sent(&flow);
    told.received = splice_bridge_flow_received(&flow);
    told.service = flow.service;
    told.end = static_cast<std::uint8_t>(end);
    this->told(std::as_bytes(std::span(&told, 1)));
}

void ConnectionEnds::told(Bytes record) noexcept {
    splice_told_end end{};
    if (record.size() < sizeof(end)) return;
    std::memcpy(&end, record.data(), sizeof(end));
    const Duration until(static_cast<std::int64_t>(end.until_ns));
    if (end.since_ns != 0) return write(end, until - Duration(static_cast<std::int64_t>(end.since_ns)));
    const auto begun = began_.extract(end.flow);
    write(end, begun.empty() ? std::nullopt : std::optional(until - begun.mapped()));
}

void ConnectionEnds::write(const splice_told_end& end, std::optional<Duration> lasted) {
    const Instant now = read_clock();
    const Duration ago = now.monotonic - Duration(static_cast<std::int64_t>(end.until_ns));
    const std::int64_t unix_ms = now.unix_s * 1000 + now.unix_part_ms - milliseconds(ago);
    log_.write(unix_ms, [&] {
        ConnectionLine line;
        line.event = ConnectionLine::Event::ended;
        line.unix_ms = unix_ms;
        line.client = {IpAddress(end.flow.client), splice_ntohs(end.flow.client_port)};
        const auto service = std::ranges::find(setup_->services, end.service, &JoinerService::number);
        if (service != setup_->services.end()) {
            line.vip = service->vip;
            line.service = service->vip.to_string();
        }
        const auto own =
            std::ranges::find(setup_->addresses, line.client.address.family(), &IpAddress::family);
        if (own != setup_->addresses.end()) {
            line.bridge = own->to_string();
            line.bridge_address = *own;
        }
        line.bridge_number = setup_->number;
        line.mode = mode_;
        line.bytes = end.sent;
        line.bytes_received = end.received;
        if (lasted) line.duration_ms = milliseconds(*lasted);
        line.end = to_string(static_cast<splice_connection_end>(end.end));
        return line;
    });
}

}  // namespace splice
