#include "libsplice/core/service_numbers.hpp"

#include <algorithm>
#include <utility>

#include "libsplice/datapath/flow.h"

namespace splice {

ServiceNumbers::ServiceNumbers(std::vector<std::string> names) {
    slots_.resize(std::clamp<std::size_t>(names.size(), 1, SPLICE_SERVICE_NUMBERS));
    for (std::size_t number = 1; number < slots_.size(); ++number)
        slots_[number].name = std::move(names[number]);
}

std::vector<std::uint16_t> ServiceNumbers::assign(std::span<const std::string> names) {
    ++assigned_;
    // Those that stay first, so that a newcomer cannot take the number of one that comes later in the list.
    for (Slot& slot : slots_) {
        if (!slot.name.empty() && std::ranges::find(names, slot.name) != names.end()) slot.asked = assigned_;
    }
    std::vector<std::uint16_t> numbers;
    numbers.reserve(names.size());
    for (const std::string& name : names) numbers.push_back(take(name));
    return numbers;
}

std::vector<std::string> ServiceNumbers::names() const {
    std::vector<std::string> all;
    all.reserve(slots_.size());
    for (const Slot& slot : slots_) all.push_back(slot.name);
    return all;
}

std::uint16_t ServiceNumbers::take(const std::string& name) {
    auto slot = std::ranges::find(slots_, name, &Slot::name);
    if (slot == slots_.end()) {
        if (slots_.size() < SPLICE_SERVICE_NUMBERS) {
            slots_.push_back({.name = name});
            slot = slots_.end() - 1;
        } else {
            slot = std::min_element(slots_.begin() + 1, slots_.end(), [](const Slot& one, const Slot& other) {
                return one.asked < other.asked;
            });
            slot->name = name;
        }
    }
    slot->asked = assigned_;
    return static_cast<std::uint16_t>(slot - slots_.begin());
}

}  // namespace splice
