#include "tools/replay/conversations.hpp"

#include <cstring>

namespace splice::replay {
namespace {

splice_flow_key name_of(const splice_flow_key& key) noexcept {
    return is_reversed(key) ? reversed(key) : key;
}

}  // namespace

bool is_reversed(const splice_flow_key& key) noexcept {
    const int order = std::memcmp(key.client.bytes, key.vip.bytes, sizeof(key.client.bytes));
    return order > 0 || (order == 0 && splice_ntohs(key.client_port) > splice_ntohs(key.vip_port));
}

Conversation* Conversations::find(const splice_flow_key& key) {
    const auto found = known_.find(name_of(key));
    return found != known_.end() && FlowKeyEqual{}(found->second.key, key) ? &found->second : nullptr;
}

Conversation* Conversations::start(const splice_flow_key& key, Fleet& fleet) {
    if (full()) return nullptr;
    Conversation& conversation = known_[name_of(key)];
    conversation.id = ++count_;
    conversation.key = key;
    conversation.fleet = &fleet;
    conversation.service = fleet.service(key.vip, key.vip_port);
    return &conversation;
}

Conversations::Found Conversations::of(const splice_packet& segment) {
    if (const auto found = known_.find(name_of(segment.key)); found != known_.end()) {
        Conversation& conversation = found->second;
        return {&conversation, !FlowKeyEqual{}(conversation.key, segment.key)};
    }
    const bool syn_ack = (segment.tcp_flags & (SPLICE_SYN | SPLICE_ACK)) == (SPLICE_SYN | SPLICE_ACK);
    Fleet* const server = fleets_.of(segment.key.client, segment.key.client_port);
    Fleet* const served = fleets_.of(segment.key.vip, segment.key.vip_port);
    if (server && (syn_ack || !served)) return {start(reversed(segment.key), *server), true};
    return {served ? start(segment.key, *served) : nullptr, false};
}

}  // namespace splice::replay
