#include "balancer/connection_choices.hpp"

#include <algorithm>
#include <cstring>
#include <optional>
#include <string_view>

#include "libsplice/engine/clock.hpp"

namespace splice {
namespace {

std::int64_t unix_ms_of(const Instant& now) noexcept {
    return now.unix_s * 1000 + now.unix_part_ms;
}

// All but the key.
ConnectionLine line_of(const SplicerSetup& setup, std::int64_t unix_ms, const splice_flow_key& flow,
                       std::uint16_t service, std::uint16_t bridge, std::uint8_t rank) {
    ConnectionLine line;
    line.unix_ms = unix_ms;
    line.client = {IpAddress(flow.client), splice_ntohs(flow.client_port)};
    line.vip = {IpAddress(flow.server), splice_ntohs(flow.server_port)};
    line.rank = static_cast<std::uint8_t>(rank + 1);
    const auto named = std::ranges::find(setup.services, service, &SplicerService::number);
    if (named != setup.services.end()) line.service = named->name;
    if (bridge < setup.bridges.size()) {
        line.bridge = setup.bridges[bridge].name;
        line.bridge_address = setup.bridges[bridge].address;
        line.bridge_number = setup.bridges[bridge].number;
    }
    return line;
}

// A ring of ketama is found by another hash.
bool hashes_by_xxh64(const SplicerSetup& setup, std::uint16_t service) noexcept {
    const auto named = std::ranges::find(setup.services, service, &SplicerService::number);
    return named == setup.services.end() || !named->placement ||
           named->placement->algorithm() != Algorithm::ketama;
}

// `key` as it was hashed; of a client's address its text.
void put_key(ConnectionLine& line, std::string_view key, bool by_source) {
    if (by_source && key.size() == sizeof(splice_address)) {
        splice_address address{};
        std::memcpy(&address, key.data(), sizeof(address));
        line.key = IpAddress(address).to_string();
        return;
    }
    line.key = key.substr(0, SPLICE_TOLD_KEY_MAX);
    line.key_truncated = key.size() > SPLICE_TOLD_KEY_MAX;
}

}  // namespace

void log_choice(ConnectionLog& log, const SplicerSetup& setup, Bytes record) {
    splice_told_choice choice{};
    if (record.size() < sizeof(choice)) return;
    std::memcpy(&choice, record.data(), sizeof(choice));
    const Instant now = read_clock();
    const Duration ago = now.monotonic - Duration(static_cast<std::int64_t>(choice.monotonic_ns));
    const std::int64_t unix_ms =
        unix_ms_of(now) - std::chrono::duration_cast<std::chrono::milliseconds>(ago).count();
    log.write(unix_ms, [&] {
        ConnectionLine line =
            line_of(setup, unix_ms, choice.flow, choice.service, choice.bridge, choice.rank);
        const std::size_t here = std::min<std::size_t>(choice.key_length, SPLICE_TOLD_KEY_MAX);
        put_key(line, {reinterpret_cast<const char*>(choice.key), here}, choice.by_source != 0);
        line.key_truncated = choice.key_length > SPLICE_TOLD_KEY_MAX;
        line.hash = choice.hash;
        if (choice.by_source) line.fallback = fallback_name(Fallback::key_is_source);
        return line;
    });
}

void LoggedActions::chose(const FlowChoice& choice) noexcept {
    to_.chose(choice);
    if (!log_ || !choice.sampled) return;
    const std::int64_t unix_ms = unix_ms_of(read_clock());
    log_->write(unix_ms, [&] {
        ConnectionLine line =
            line_of(setup_, unix_ms, choice.flow, choice.service, choice.bridge, choice.rank);
        put_key(line, choice.key, choice.fallback.has_value());
        if (hashes_by_xxh64(setup_, choice.service)) line.hash = hash_key_bytes(choice.key);
        if (choice.fallback) line.fallback = fallback_name(*choice.fallback);
        return line;
    });
}

}  // namespace splice
