// What the balancer said of a choice, in words.
#pragma once

#include "tools/replay/fleet.hpp"
#include "tools/replay/observer.hpp"
#include "tools/replay/outbox.hpp"

namespace splice::replay {

[[nodiscard]] Choice choice_in_words(const ToldChoice& told, const SplicerService& service,
                                     const Fleet& fleet);

}  // namespace splice::replay
