// One captured connection: what its two ends called their numbers, and what our side calls them.
#pragma once

#include <cstdint>
#include <optional>
#include <vector>

#include "libsplice/base/seq.hpp"
#include "libsplice/datapath/packet.h"
#include "tools/replay/arrival.hpp"
#include "tools/replay/fleet.hpp"

namespace splice::replay {

// A packet of the captured server that came before the backend can have sent it.
struct WaitingPacket {
    std::uint64_t number;
    std::uint32_t captured, length;
    std::vector<std::byte> bytes;
};

struct Conversation {
    std::uint32_t id = 0;
    splice_flow_key key{};  // the client and the service
    Fleet* fleet = nullptr;
    const SplicerService* service = nullptr;
    std::optional<std::uint16_t> bridge;  // where the balancer sent it last
    bool from_its_middle = false;         // the capture lacks its beginning: nothing is mapped
    bool opened = false;                  // a bridge has spliced it with the backend
    std::optional<Seq> client_isn;
    // The server's number in the capture, which is the backend's here, and ours for the same byte.
    std::optional<Seq> server_isn;
    bool acknowledged = false;  // the client has, so server_isn is the connection's
    std::optional<Seq> cookie_isn;
    // The clock that the client echoed in its handshake: the server's, and ours for the same moment.
    std::optional<TsVal> server_tsval;
    std::optional<TsVal> our_tsval;
    // Of the captured server; the last is the backend's answer to the replayed SYN.
    std::vector<std::vector<std::byte>> syn_acks;
    std::vector<WaitingPacket> waiting;

    // A new connection of the same ends.
    void restart(std::uint32_t new_id);
    // Keeps an answer to the client's SYN. Of several with different numbers the one that the client
    // acknowledges counts, and until then the last. Not to be called for another once the client has.
    void keep_syn_ack(const Arrival& segment);
    // Tells what the client's first ACK shows: which SYN-ACK it is about, or what one said that the capture
    // lacks.
    void learn_from(const splice_packet& packet, const splice_tcp_options& options);
    // Edits a segment of the captured client so that it acknowledges and echoes our numbers.
    void map_toward_balancer(Arrival& segment) const;
    // Edits an ICMP error about a packet of the captured server, which it quotes, in the same way.
    void map_icmp_toward_balancer(Arrival& error) const;
    // The backend's answer to the bridge's replayed SYN, as the captured server gave it.
    [[nodiscard]] std::vector<std::byte> answer_replayed_syn(Bytes syn, const Endpoint& backend) const;

  private:
    void acknowledge(Seq number);
};

// The client's SYN where the capture lacks it, with the options that the rest of the capture shows.
struct MissingSyn {
    std::uint32_t client_isn = 0;
    splice_negotiated negotiated{};
    std::optional<std::uint32_t> tsval;
};
[[nodiscard]] std::vector<std::byte> make_up_syn(const splice_flow_key& key, const MissingSyn& missing);

// Makes a packet of the captured server one of the backend's.
void send_from(Arrival& segment, const Endpoint& backend);

}  // namespace splice::replay
