// What two hosts say to each other on one connection, drawn from a seed: the bytes of both, who closes, and
// which key the balancer must find in the first payload.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "libsplice/base/time.hpp"
#include "libsplice/core/hash_key.hpp"
#include "tests/simulation/random.hpp"

namespace splice::simulation {

using namespace std::chrono_literals;

enum class Closer : std::uint8_t { client, client_early, server, client_aborts };

struct Exchange {
    std::string request;     // the whole client's part; empty where the server speaks first
    std::uint32_t response;  // bytes
    Duration think{};        // before the request
    std::size_t pieces = 1;  // writes
    Duration between_pieces{};
};

struct Conversation {
    std::uint64_t id = 0;
    std::vector<Exchange> exchanges;
    Closer closer = Closer::client;
    std::string key;     // of the first payload; empty: the client's address chooses
    bool whole = false;  // the first payload goes in one segment: its key must choose

    [[nodiscard]] std::string client_stream() const;
    // The byte of the response stream at `offset`, which tells conversation and backend apart from all
    // others.
    [[nodiscard]] static char response_byte(std::uint64_t id, std::size_t backend,
                                            std::size_t offset) noexcept;
    [[nodiscard]] std::size_t response_bytes() const noexcept;
};

// `mss`: what fits a segment of the client's.
[[nodiscard]] Conversation draw_conversation(Random& random, std::uint64_t id, Protocol protocol,
                                             bool server_first, std::size_t mss);

// A ClientHello of TLS 1.3 with that server name, padded to about `size` bytes.
[[nodiscard]] std::string client_hello(std::string_view name, std::size_t size);

}  // namespace splice::simulation
