// The ring of nginx's `hash $request_uri consistent` (ngx_http_upstream_hash_module),
// which is that of Cache::Memcached::Fast: 160 points for each unit of weight, point i at CRC-32 of HOST \0
// PORT followed by point i - 1 as four bytes, little-endian, beginning with zeros.
#include <algorithm>
#include <boost/crc.hpp>

#include "libsplice/core/placement/builders.hpp"

namespace splice::placement {
namespace {

struct Point {
    std::uint32_t hash;
    std::uint32_t listed;  // the server's place in the configuration
    std::uint16_t bridge;
    auto operator<=>(const Point&) const = default;
};

struct Server {
    std::string_view host;
    std::string_view port;  // empty when there is none
};

// As nginx splits the text of a `server` line: a port is what stands behind the last colon and is digits
// alone.
Server split(std::string_view server) noexcept {
    const auto digits = server.find_last_not_of("0123456789");
    if (digits == std::string_view::npos || server[digits] != ':') return {server, {}};
    return {server.substr(0, digits), server.substr(digits + 1)};
}

void add_points(std::vector<Point>& points, std::uint32_t listed, const PlacementMember& member) {
    const auto [host, port] = split(member.server);
    boost::crc_32_type server;
    server.process_bytes(host.data(), host.size());
    server.process_byte(0);
    server.process_bytes(port.data(), port.size());

    std::uint32_t previous = 0;
    for (std::uint32_t i = 0; i < member.weight * kKetamaPointsPerWeight; ++i) {
        boost::crc_32_type point = server;
        point.process_bytes(&previous, sizeof(previous));
        previous = point.checksum();
        points.push_back({previous, listed, member.bridge});
    }
}

}  // namespace

std::uint32_t ketama_hash(std::string_view key) noexcept {
    boost::crc_32_type crc;
    crc.process_bytes(key.data(), key.size());
    return crc.checksum();
}

Ring ketama_ring(Members in_configured_order) {
    std::vector<Point> points;
    for (std::uint32_t listed = 0; listed < in_configured_order.size(); ++listed) {
        add_points(points, listed, in_configured_order[listed]);
    }
    // Where two points fall together the earlier server keeps the place, as in nginx, whose sort is stable
    // too.
    std::ranges::sort(points);
    const auto [first, last] = std::ranges::unique(points, {}, &Point::hash);
    points.erase(first, last);

    Ring ring;
    ring.points.reserve(points.size());
    ring.rows.reserve(points.size());
    for (const Point& point : points) {
        ring.points.push_back(point.hash);
        ring.rows.push_back({{point.bridge, SPLICE_NO_BRIDGE, SPLICE_NO_BRIDGE}});
    }
    fill_next_choices(ring.rows);
    return ring;
}

}  // namespace splice::placement
