#include "tools/replay/conversations.hpp"

#include <cstring>

namespace splice::replay {
namespace {

PairName pair_name(const splice_flow_key& key) noexcept {
    const int order = std::memcmp(key.client.bytes, key.server.bytes, sizeof(key.client.bytes));
    if (order < 0 || (order == 0 && splice_ntohs(key.client_port) <= splice_ntohs(key.server_port)))
        return {key, false};
    return {{key.server, key.client, key.server_port, key.client_port, 0}, true};
}

}  // namespace

PairName pair_name(const splice_packet& packet) noexcept {
    return pair_name(*splice_flow_toward_server(&packet));
}

Conversation* Conversations::find(const splice_flow_key& key) {
    const auto found = known_.find(pair_name(key).key);
    return found != known_.end() && FlowKeyEqual{}(found->second.key, key) ? &found->second : nullptr;
}

Conversation* Conversations::start(const splice_flow_key& key, Fleet& fleet) {
    if (full()) return nullptr;
    Conversation& conversation = known_[pair_name(key).key];
    conversation.id = ++count_;
    conversation.key = key;
    conversation.fleet = &fleet;
    conversation.service = fleet.service(key.server, key.server_port);
    return &conversation;
}

Conversations::Found Conversations::of(const splice_packet& segment) {
    if (const auto found = known_.find(pair_name(segment).key); found != known_.end()) {
        Conversation& conversation = found->second;
        return {&conversation, !FlowKeyEqual{}(conversation.key, *splice_flow_toward_server(&segment))};
    }
    const bool syn_ack = (segment.tcp_flags & (SPLICE_SYN | SPLICE_ACK)) == (SPLICE_SYN | SPLICE_ACK);
    Fleet* const server = fleets_.of(segment.ends.source, segment.ends.source_port);
    Fleet* const served = fleets_.of(segment.ends.destination, segment.ends.destination_port);
    if (server && (syn_ack || !served)) return {start(splice_flow_toward_client(&segment), *server), true};
    return {served ? start(*splice_flow_toward_server(&segment), *served) : nullptr, false};
}

}  // namespace splice::replay
