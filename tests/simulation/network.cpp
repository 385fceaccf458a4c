// The links: what they lose, double, delay and damage, and where packets arrive.
#include "libsplice/wire/print_packet.hpp"
#include "tests/simulation/scene.hpp"

namespace splice::simulation {

// A name for a segment that survives translation and forwarding.
std::uint64_t fingerprint(Bytes packet) {
    splice_packet parsed{};
    const std::byte* data = packet.data();
    if (splice_parse_ip(data, data + packet.size(), &parsed) != SPLICE_CONTINUE) return 0;
    return std::uint64_t{parsed.ends.source_port} << 48 ^ std::uint64_t{parsed.seq} << 16 ^
           parsed.payload_length;
}

// Changes some bits of one 16-bit word, once on its way, which a checksum always shows: what it cannot show,
// nobody can.
void World::corrupt(PacketBytes& packet) {
    if (!decode(packet)) return;
    const std::size_t word = random_.between(0, packet.size() / 2 - 1) * 2;
    const auto was =
        std::to_integer<unsigned>(packet[word]) << 8 | std::to_integer<unsigned>(packet[word + 1]);
    const auto mask = random_.chance(0.7) ? 1U << random_.between(0, 15)
                                          : static_cast<unsigned>(random_.between(1, 0xffff));
    const unsigned is = was ^ mask;
    if ((was == 0 && is == 0xffff) || (was == 0xffff && is == 0)) return;
    packet[word] = static_cast<std::byte>(is >> 8);
    packet[word + 1] = static_cast<std::byte>(is & 0xff);
}

void World::travel(const Faults& faults, PacketBytes packet, const std::function<void(PacketBytes)>& arrive) {
    ++result_.packets;
    const int copies = random_.chance(faults.duplicate) ? 2 : 1;
    for (int i = 0; i < copies; ++i) {
        if (random_.chance(faults.loss)) continue;
        PacketBytes copy = packet;
        if (random_.chance(faults.corrupt)) corrupt(copy);
        Duration delay = faults.delay;
        if (faults.jitter > 0ns)
            delay += Duration(random_.between(0, static_cast<std::uint64_t>(faults.jitter.count())));
        if (random_.chance(faults.reorder)) delay += faults.delay * random_.between(1, 4);
        at(now_ + delay, [arrive, copy = std::move(copy)]() mutable { arrive(std::move(copy)); });
    }
}

void World::from_balancer(PacketBytes packet) {
    const auto destination = destination_of(packet);
    if (!destination) return;
    for (std::size_t i = 0; i < kBridges; ++i) {
        if (*destination != bridges_[i].address) continue;
        check_bridge(i, packet);
        return travel(inside_, std::move(packet), [this, i](PacketBytes p) { to_bridge(i, std::move(p)); });
    }
    travel(down_, std::move(packet), [this](PacketBytes p) { to_client(p); });
}

void World::from_bridge(std::size_t index, PacketBytes packet) {
    const auto destination = destination_of(packet);
    if (!destination || is_dead(index)) return;
    if (*destination == bridges_[index].backend.address)
        return travel(local_, std::move(packet), [this, index](PacketBytes p) { to_backend(index, p); });
    travel(down_, std::move(packet), [this](PacketBytes p) { to_client(p); });
}

void World::log(std::string_view where, Bytes packet, std::string_view verdict) {
    if (verbose_) fmt::print("{:11.6f} {:14} {} {}\n", seconds(), where, print_packet(packet), verdict);
}

}  // namespace splice::simulation
