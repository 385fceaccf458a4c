// What the balancer chose a bridge by, found again from what it sent on.
#pragma once

#include <optional>
#include <span>
#include <string>

#include "tools/replay/conversation.hpp"
#include "tools/replay/observer.hpp"

namespace splice::replay {

// Whether the verdict says that a bridge was chosen, or looked for in vain.
[[nodiscard]] bool chooses(Verdict verdict) noexcept;

// `released`: the packets that the choice sent on; nothing when there are none. `scratch` is room for the
// key, kept from call to call.
[[nodiscard]] std::optional<Choice> choice_of(const Conversation& conversation,
                                              std::span<const Bytes> released,
                                              std::optional<Fallback> fallback, std::string& scratch);

}  // namespace splice::replay
