#include "tests/simulation/conversation.hpp"

#include <fmt/format.h>

namespace splice::simulation {
namespace {

std::string number(std::size_t value, int bytes) {
    std::string out;
    for (int shift = 8 * (bytes - 1); shift >= 0; shift -= 8) out += static_cast<char>(value >> shift & 0xff);
    return out;
}

std::string vector_of(std::string_view bytes, int length_bytes) {
    return number(bytes.size(), length_bytes) + std::string(bytes);
}

std::string garbage(Random& random, std::size_t size) {
    std::string bytes(size, '\0');
    for (char& c : bytes) c = static_cast<char>(random.next());
    bytes[0] = '\x01';  // neither a method's first letter nor a TLS record
    return bytes;
}

std::string http_request(Random& random, std::string& uri) {
    uri = fmt::format("/objects/{}/part{}?v={}", random.between(0, 40), random.between(0, 9),
                      random.between(0, 3));
    std::string head = fmt::format("GET {} HTTP/1.1\r\nHost: cdn.example\r\nUser-Agent: simulation\r\n", uri);
    if (random.chance(0.2)) head += "Cookie: " + std::string(random.between(100, 4000), 'c') + "\r\n";
    return head + "\r\n";
}

std::uint32_t response_size(Random& random) {
    const auto kind = random.between(0, 9);
    if (kind < 4) return static_cast<std::uint32_t>(random.between(1, 1400));
    if (kind < 9) return static_cast<std::uint32_t>(random.between(1400, 20'000));
    return static_cast<std::uint32_t>(random.between(20'000, 90'000));
}

}  // namespace

std::string Conversation::client_stream() const {
    std::string all;
    for (const Exchange& exchange : exchanges) all += exchange.request;
    return all;
}

std::size_t Conversation::response_bytes() const noexcept {
    std::size_t all = 0;
    for (const Exchange& exchange : exchanges) all += exchange.response;
    return all;
}

char Conversation::response_byte(std::uint64_t id, std::size_t backend, std::size_t offset) noexcept {
    if (offset == 0) return static_cast<char>('1' + backend);
    std::uint64_t mixed = (id * 4 + backend) * 0x9e3779b97f4a7c15ULL + offset * 0xbf58476d1ce4e5b9ULL;
    mixed ^= mixed >> 29;
    return static_cast<char>(mixed * 0x94d049bb133111ebULL >> 56);
}

std::string client_hello(std::string_view name, std::size_t size) {
    const std::string host = vector_of(std::string(1, '\0') + vector_of(name, 2), 2);
    std::string extensions = number(0, 2) + vector_of(host, 2);
    const std::string fixed = "\x03\x03" + std::string(32, 'r') + vector_of("", 1) +
                              vector_of("\x13\x01", 2) + vector_of(std::string(1, '\0'), 1);
    const std::size_t so_far = 5 + 4 + fixed.size() + 2 + extensions.size() + 4;
    if (size > so_far) extensions += number(21, 2) + vector_of(std::string(size - so_far, '\0'), 2);
    const std::string hello = "\x01" + vector_of(fixed + vector_of(extensions, 2), 3);
    return "\x16\x03\x01" + vector_of(hello, 2);
}

Conversation draw_conversation(Random& random, std::uint64_t id, Protocol protocol, bool server_first,
                               std::size_t mss) {
    Conversation conversation;
    conversation.id = id;
    conversation.closer = static_cast<Closer>(random.chance(0.1) ? 3 : random.between(0, 2));
    const std::size_t count = random.chance(0.6) ? 1 : random.between(2, 4);
    const bool odd = random.chance(0.1);
    for (std::size_t i = 0; i < count; ++i) {
        Exchange exchange;
        exchange.response = response_size(random);
        exchange.think = random.chance(0.3) ? std::chrono::milliseconds(random.between(0, 3000)) : 0ms;
        std::string key;
        if (server_first && i == 0) {
            exchange.request.clear();
            exchange.think = {};
        } else if (odd) {
            exchange.request = garbage(random, random.between(1, 3000));
        } else if (protocol == Protocol::tls) {
            key = fmt::format("host{}.example", random.between(0, 40));
            exchange.request = client_hello(key, random.chance(0.3) ? random.between(1500, 4000) : 300);
        } else {
            exchange.request = http_request(random, key);
        }
        if (protocol == Protocol::tcp) key.clear();
        if (random.chance(0.3)) {
            exchange.pieces = random.between(2, 6);
            exchange.between_pieces = std::chrono::milliseconds(random.between(0, 80));
        }
        if (i == 0) {
            conversation.key = key;
            // The URI is in the first segment whatever follows it; a hello must be there whole.
            const std::size_t needed = protocol == Protocol::tls ? exchange.request.size() : 200;
            conversation.whole = exchange.pieces == 1 && needed <= mss;
        }
        conversation.exchanges.push_back(std::move(exchange));
    }
    return conversation;
}

}  // namespace splice::simulation
