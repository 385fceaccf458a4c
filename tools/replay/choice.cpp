#include "tools/replay/choice.hpp"

#include <algorithm>
#include <cstring>

namespace splice::replay {
namespace {

// The bytes of an address, as the balancer hashes it.
std::string address_text(std::string_view bytes) {
    splice_address address{};
    std::memcpy(address.bytes, bytes.data(), std::min(bytes.size(), sizeof(address.bytes)));
    return IpAddress(address).to_string();
}

}  // namespace

Choice choice_in_words(const ToldChoice& told, const SplicerService& service, const Fleet& fleet) {
    Choice choice{.kind = "source", .key = {}, .fallback = told.fallback, .bridge = "-"};
    if (told.bridge < fleet.setup->bridges.size()) choice.bridge = fleet.setup->bridges[told.bridge].name;
    if (told.fallback) {
        choice.key = address_text(told.key);
    } else {
        choice.kind = service.key.parts_text();
        choice.key = told.key;
    }
    return choice;
}

}  // namespace splice::replay
